/** What counts as flicker in the editor's bench. */
import path from 'node:path';

import { describe, expect, it } from 'vitest';

interface Event {
  readonly kind: 'begin' | 'end' | 'key' | 'ghost';
  readonly at: number;
  readonly key?: string;
  readonly text?: string;
}

const summary = path.join(import.meta.dirname, '..', 'bench', 'summary.mjs');
const { lifetimes } = (await import(summary)) as { lifetimes: (events: readonly Event[]) => number[] };

const key = (at: number, name: string): Event => ({ kind: 'key', at, key: name });
const ghost = (at: number, text: string): Event => ({ kind: 'ghost', at, text });
const whileTyping = (...events: Event[]): number[] => lifetimes([{ kind: 'begin', at: 0 }, ...events, { kind: 'end', at: 9000 }]);

describe('the time that a suggestion was there', () => {
  it('ends when it vanishes or another one replaces it', () => {
    expect(whileTyping(ghost(100, 'foo()'), key(160, 'x'), ghost(165, ''))).toEqual([65]);
    expect(whileTyping(ghost(100, 'foo()'), ghost(180, 'bar'), key(300, '.'), ghost(310, ''))).toEqual([80, 130]);
  });

  it('goes on while it is typed along, to its end too, and while it grows', () => {
    expect(whileTyping(ghost(100, 'foo'), key(150, 'f'), ghost(155, 'oo'), key(200, 'x'), ghost(205, ''))).toEqual([105]);
    expect(whileTyping(ghost(100, ')'), key(150, ')'), ghost(155, ''))).toEqual([]);
    expect(whileTyping(ghost(100, 'foo'), ghost(150, 'foo()'), key(400, 'x'), ghost(410, ''))).toEqual([310]);
  });

  it('is counted between the recording’s first and last key only', () => {
    expect(lifetimes([ghost(1, 'foo'), ghost(2, ''), { kind: 'begin', at: 3 }, { kind: 'end', at: 4 }, ghost(5, 'foo'), ghost(6, '')])).toEqual([]);
  });
});
