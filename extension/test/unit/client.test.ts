import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Backoff } from '../../src/client/backoff';
import { Coalesced } from '../../src/client/coalesce';
import { Store } from '../../src/state/store';
import { Throttle } from '../../src/state/throttle';
import { defaults, energy } from './samples';

describe('back-off', () => {
  it('doubles, then gives up', () => {
    const backoff = new Backoff(() => 0);
    expect(Array.from({ length: 7 }, () => backoff.next())).toEqual([500, 1000, 2000, 4000, 8000, 16000, null]);
    backoff.reset();
    expect(backoff.next()).toBe(500);
  });

  it('does not count crashes of long ago', () => {
    let time = 0;
    const backoff = new Backoff(() => time);
    backoff.next();
    backoff.next();
    time = 10 * 60_000;
    expect(backoff.next()).toBe(500);
  });
});

describe('coalesced restarts', () => {
  it('run one at a time, with at most one more waiting', async () => {
    const gates: (() => void)[] = [];
    const work = new Coalesced(() => new Promise<void>((open) => gates.push(open)));
    const all = [work.request(), work.request(), work.request(), work.request()];
    expect(gates).toHaveLength(1);
    gates[0]!();
    await all[0];
    await vi.waitFor(() => expect(gates).toHaveLength(2));
    gates[1]!();
    await Promise.all(all);
    expect(gates).toHaveLength(2);
  });

  it('survive a failure', async () => {
    let count = 0;
    const work = new Coalesced(() => (++count === 1 ? Promise.reject(new Error('first')) : Promise.resolve()));
    const [first, second] = await Promise.allSettled([work.request(), work.request()]);
    expect([first.status, second.status]).toEqual(['rejected', 'fulfilled']);
  });
});

describe('energy updates', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('are drawn at once, then at most once a second, and the last one is always drawn', () => {
    const store = new Store(defaults);
    const drawn: number[] = [];
    const throttle = new Throttle(() => drawn.push(store.snapshot.energy?.today.completions ?? -1), 1000);
    store.onChange(() => throttle.request());
    for (let completions = 1; completions <= 25; completions += 1) {
      store.update({ energy: { ...energy, today: { ...energy.today, completions } } });
      vi.advanceTimersByTime(100);
    }
    vi.advanceTimersByTime(5000);
    expect(drawn).toEqual([1, 10, 20, 25]);
  });

  it('stop when the item is disposed', () => {
    const action = vi.fn();
    const throttle = new Throttle(action, 1000);
    throttle.request();
    throttle.request();
    throttle.dispose();
    vi.advanceTimersByTime(5000);
    expect(action).toHaveBeenCalledTimes(1);
  });
});
