import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { t } from '../../src/l10n';
import { UNCALIBRATED, type Calibration } from '../../src/threshold/calibration';
import { scaleMessage, stateMessage } from '../../src/threshold/messages';
import { snapshot, suggestions } from './samples';

const ROOT = path.join(import.meta.dirname, '../../..');

/** The part of an element that the scripts of our pages use. */
class Element {
  static focused: Element | null = null;
  readonly listeners = new Map<string, () => void>();
  readonly dataset: Readonly<Record<string, string>> = {};
  readonly children: Element[] = [];
  readonly style = {};
  readonly writes: string[] = [];
  hidden = false;
  value = '';
  readonly attributes: Record<string, string> = {};
  private text = '';

  get firstElementChild(): Element {
    const [first = new Element()] = this.children;
    return first;
  }

  get textContent(): string {
    return this.text;
  }

  set textContent(text: string) {
    this.writes.push(text);
    this.text = text;
  }

  addEventListener(name: string, listener: () => void): void {
    this.listeners.set(name, listener);
  }

  contains(other: Element | null): boolean {
    return other === this || this.children.some((child) => child.contains(other));
  }

  focus(): void {
    Element.focused = this;
  }

  setAttribute(name: string, value: unknown): void {
    this.attributes[name] = String(value);
  }

  append(...children: Element[]): void {
    this.children.push(...children);
  }

  replaceChildren(...children: Element[]): void {
    this.children.splice(0, Infinity, ...children);
  }
}

/** A page whose elements are created on first access. */
function makeDocument() {
  const elements = new Map<string, Element>();
  const find = (id: string) => elements.get(id) ?? elements.set(id, new Element()).get(id)!;
  const document = {
    getElementById: find,
    createElement: () => new Element(),
    createElementNS: () => new Element(),
    querySelectorAll: () => [],
    documentElement: { lang: 'en' },
    body: {},
    get activeElement() {
      return Element.focused;
    },
  };
  return { find, document };
}

beforeEach(() => void (Element.focused = null));

describe('the page of the threshold view', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const state = { ...stateMessage(snapshot(), null), noEffect: 'Decoding is exact.' };

  function open(calibration: Calibration = UNCALIBRATED) {
    const { find, document } = makeDocument();
    const receivers: ((event: { data: unknown }) => void)[] = [];
    const window = { addEventListener: (_: string, receive: (event: { data: unknown }) => void) => receivers.push(receive) };
    const sent: unknown[] = [];
    const file = path.join(ROOT, 'extension/media/threshold.js');
    const vscode = { postMessage: (message: object) => sent.push({ ...message }) };
    vm.runInNewContext(fs.readFileSync(file, 'utf8'), { document, window, setTimeout, clearTimeout, acquireVsCodeApi: () => vscode });
    const send = (data: unknown) => receivers.forEach((receive) => receive({ data }));
    Object.assign(find('suggestions'), { value: '1', min: '0', step: '1' });
    Object.assign(find('threshold'), { value: '0.8', min: '0.5', step: '0.01' });
    find('no-effect').children.push(new Element(), find('use-fast'));
    send(scaleMessage(calibration));
    const move = (id: string, value: string) => {
      find(id).value = value;
      find(id).listeners.get('input')!();
    };
    return { find, send, sent, move };
  }

  it('shows what was measured for a stop while the slider is there, and writes the stop once it rests', () => {
    const { find, send, sent, move } = open({ ...UNCALIBRATED, suggestions });
    send(state);
    const rows = () => find('figures').children.map((row) => row.children.map(({ textContent }) => textContent));
    const marks = () => find('outcomes').children.filter(({ attributes }) => attributes.class?.endsWith(' here'));
    expect([find('measured').hidden, find('unmeasured').hidden]).toEqual([false, true]);
    expect(find('stop').textContent).toBe('Balanced');
    const before = marks().map(({ attributes }) => attributes);
    move('suggestions', '0');
    move('suggestions', '2');
    expect([find('stop').textContent, find('this-stop').textContent]).toEqual(['Sure', 'Sure']);
    expect(rows()).toEqual([
      ['Characters accepted', '42%', '23%'],
      ['Suggestions right', '63%', '13%'],
      ['Energy per accepted character', '160 mJ', '800 mJ'],
      ['Rejected per 100 characters', '2.5', '10.5'],
    ]);
    expect(find('comparison').textContent).toContain('5.0 times less energy');
    expect(find('suggestions').attributes['aria-valuetext']).toContain(`Sure. ${t('threshold.sureDetail')} 42% of the characters accepted`);
    expect(marks()).toHaveLength(2);
    expect(marks().map(({ attributes }) => attributes)).not.toEqual(before);
    vi.advanceTimersByTime(1000);
    expect(sent).toEqual([{ type: 'ready' }, { type: 'write', setting: 'suggestions', value: 'sure' }]);
  });

  it('draws each share at its height, and joules from left to right', () => {
    const { find } = open({ ...UNCALIBRATED, suggestions });
    const marks = (kind: string) => find('outcomes').children.map(({ attributes }) => attributes).filter((each) => each.class?.endsWith(` ${kind}`));
    const [accepted, right] = marks('here');
    const [always] = marks('always');
    expect(Number(right!.y) + Number(right!.height) / 2).toBeLessThan(Number(accepted!.cy)); // more are right (49%) than characters are accepted (44%)
    expect(Number(always!.cy)).toBeGreaterThan(Number(accepted!.cy)); // asking always: 23%
    expect((Number(accepted!.cx) - 28) / (Number(always!.cx) - 28)).toBeCloseTo(0.2 / 0.8); // 28: where joules are 0
    expect(marks('point')).toHaveLength(6);
  });

  it('does not move a slider back with an earlier value before its setting is written', () => {
    const { find, send, move } = open();
    send(state);
    move('suggestions', '0');
    send(state);
    vi.advanceTimersByTime(1000);
    send(state);
    expect(find('stop').textContent).toBe('Eager');
    send({ type: 'written', setting: 'threshold', value: 0.8 });
    send(state);
    expect(find('stop').textContent).toBe('Eager');
    send({ type: 'written', setting: 'suggestions', value: 'eager' });
    send(state);
    expect(find('stop').textContent).toBe('Balanced');
  });

  it('says that nothing was measured, and still sets a stop', () => {
    const { find, sent, move } = open();
    expect([find('measured').hidden, find('unmeasured').hidden]).toEqual([true, false]);
    move('suggestions', '0');
    expect(find('stop').textContent).toBe('Eager');
    vi.advanceTimersByTime(1000);
    expect(sent).toContainEqual({ type: 'write', setting: 'suggestions', value: 'eager' });
  });

  it('sets the threshold with its own slider and the presets', () => {
    const { find, sent, move } = open({ ...UNCALIBRATED, presets: [{ name: 'saver', threshold: 0.6, allowedLoss: 0.05, confidence: 0.95, saving: 0.3 }] });
    move('threshold', '0.7');
    expect(find('value').textContent).toBe('0.70');
    vi.advanceTimersByTime(1000);
    find('presets').children[0]!.listeners.get('click')!();
    expect([find('value').textContent, find('threshold').value]).toEqual(['0.60', '0.6']);
    vi.advanceTimersByTime(1000);
    expect(sent.slice(1)).toEqual([0.7, 0.6].map((value) => ({ type: 'write', setting: 'threshold', value })));
  });

  it('moves the focus to the slider when the focused button disappears', () => {
    const { find, send } = open();
    send(state);
    find('use-fast').focus();
    send({ ...state, noEffect: '' });
    expect(find('no-effect').hidden).toBe(true);
    expect(Element.focused).toBe(find('threshold'));
  });

  it('takes the focus from no other element', () => {
    const { find, send } = open();
    find('presets').focus();
    send({ ...state, noEffect: '' });
    expect(Element.focused).toBe(find('presets'));
  });

  it('writes the reason for no effect once, however often it arrives', () => {
    const { find, send } = open();
    [state, state, state].forEach(send);
    expect(find('no-effect').firstElementChild.writes).toEqual(['Decoding is exact.']);
  });
});

describe('the page of the energy report', () => {
  beforeEach(() => {
    vi.resetModules();
    vi.doMock('chart.js', () => {
      const names = ['BarController', 'BarElement', 'CategoryScale', 'Legend', 'LinearScale', 'Tooltip'];
      return { ...Object.fromEntries(names.map((name) => [name, {}])), Chart: { register: () => undefined, defaults: { font: {} } } };
    });
  });
  afterEach(() => {
    vi.doUnmock('chart.js');
    vi.unstubAllGlobals();
  });

  /** The editor keeps this state between pages of the panel. */
  let saved: unknown;
  async function load() {
    const { find, document } = makeDocument();
    vi.resetModules();
    vi.stubGlobal('document', document);
    vi.stubGlobal('window', { getComputedStyle: () => ({ getPropertyValue: () => '' }) });
    vi.stubGlobal('MutationObserver', class { readonly observe = () => undefined; });
    vi.stubGlobal('acquireVsCodeApi', () => ({ postMessage: () => undefined, getState: () => saved, setState: (state: unknown) => (saved = state) }));
    const script = path.join(ROOT, 'extension/webview/report.mjs');
    await import(/* @vite-ignore */ script);
    return find('refresh');
  }

  it('has the focus on Refresh only after Refresh was pressed', async () => {
    const refresh = await load();
    expect(Element.focused).toBeNull();
    refresh.listeners.get('click')!();
    const fresh = await load();
    expect(Element.focused).toBe(fresh);
    Element.focused = null;
    await load();
    expect(Element.focused).toBeNull();
  });
});
