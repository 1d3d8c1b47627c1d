import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { t } from '../../src/l10n';
import { UNCALIBRATED, type Calibration } from '../../src/threshold/calibration';
import { scaleMessage, stateMessage } from '../../src/threshold/messages';
import { defaults, energy, snapshot, suggestions } from './samples';

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
  const curve = [{ threshold: 0.6, saving: 0.3, quality: 0.94 }, { threshold: 1, saving: 0.1, quality: 1 }];
  const state = stateMessage(snapshot({ settings: { ...defaults, threshold: 0.8 } }), curve);
  const fast = { ...state, decoding: 'fast' };

  function open(calibration: Calibration = UNCALIBRATED) {
    const { find, document } = makeDocument();
    const receivers: ((event: { data: unknown }) => void)[] = [];
    const window = {
      addEventListener: (_: string, receive: (event: { data: unknown }) => void) => receivers.push(receive),
      getComputedStyle: () => ({ fontSize: '10px' }),
    };
    const resized: (() => void)[] = [];
    class ResizeObserver {
      constructor(redraw: () => void) {
        resized.push(redraw);
      }
      readonly observe = () => undefined;
    }
    const sent: unknown[] = [];
    const file = path.join(ROOT, 'extension/media/threshold.js');
    const vscode = { postMessage: (message: object) => sent.push({ ...message }) };
    vm.runInNewContext(fs.readFileSync(file, 'utf8'), { document, window, ResizeObserver, setTimeout, clearTimeout, acquireVsCodeApi: () => vscode });
    const send = (data: unknown) => receivers.forEach((receive) => receive({ data }));
    Object.assign(find('suggestions'), { value: '1', min: '0', step: '1' });
    Object.assign(find('threshold'), { value: '0.8', min: '0.5', step: '0.01' });
    send(scaleMessage(calibration));
    const move = (id: string, value: string) => {
      find(id).value = value;
      find(id).listeners.get('input')!();
    };
    const resize = () => resized.forEach((redraw) => redraw());
    return { find, send, sent, move, resize };
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

  it('draws each figure at its height, over how sure the model must be', () => {
    const { find } = open({ ...UNCALIBRATED, suggestions });
    const drawn = (id: string, kind: string) => find(id).children.map(({ attributes }) => attributes).filter((each) => each.class?.endsWith(` ${kind}`));
    const [accepted, right] = drawn('outcomes', 'here');
    expect(Number(right!.y) + Number(right!.height) / 2).toBeLessThan(Number(accepted!.cy)); // more are right (49%) than characters are accepted (44%)
    const [always] = drawn('outcomes', 'level');
    expect(Number(always!.y1)).toBeGreaterThan(Number(accepted!.cy)); // asking always: 23%
    const points = drawn('outcomes', 'point');
    expect(points).toHaveLength(6);
    const [first, , last] = points.map(({ cx }) => Number(cx));
    expect((Number(accepted!.cx) - first!) / (last! - first!)).toBeCloseTo((0.4 - 0.1) / (0.6 - 0.1));
    const [cost] = drawn('costs', 'here');
    const [most] = drawn('costs', 'level');
    const bottom = Number(find('costs').children.map(({ attributes }) => attributes).find((each) => each.class === 'axis')!.y2);
    expect((bottom - Number(cost!.cy)) / (bottom - Number(most!.y1))).toBeCloseTo(0.2 / 0.8); // joules begin at 0
  });

  it('draws the charts in the size that they have, with fewer ticks where the texts would overlap', () => {
    const { find, resize } = open({ ...UNCALIBRATED, curve });
    const ticks = () => find('curve').children.filter(({ attributes }) => attributes.class === 'along').map(({ textContent }) => textContent);
    expect(ticks()).toEqual(['0.50', '0.60', '0.70', '0.80', '0.90', '1.00']);
    Object.assign(find('curve'), { clientWidth: 140, clientHeight: 100 });
    resize();
    expect(find('curve').attributes.viewBox).toBe('0 0 140 100');
    expect(ticks()).toEqual(['0.50', '0.70', '0.90']);
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

  it('shows the threshold only in the mode that uses it, and the mode that is on without a button', () => {
    const { find, send, sent } = open({ ...UNCALIBRATED, curve });
    const shown = (prefix: string) => ['exact', 'fast', 'full'].filter((mode) => !find(`${prefix}-${mode}`).hidden);
    send(state);
    expect([shown('mode'), shown('on'), shown('use')]).toEqual([['exact', 'fast'], ['exact'], ['fast', 'full']]);
    expect([find('exit').hidden, find('expected').hidden]).toEqual([true, false]);
    expect(find('expected').textContent).toBe('Expected in Fast mode: 20% less energy, 97% of the accuracy.');
    find('use-fast').listeners.get('click')!();
    expect(sent.at(-1)).toEqual({ type: 'mode', value: 'fast' });
    send(fast);
    expect([shown('mode'), shown('on'), shown('use')]).toEqual([['exact', 'fast'], ['fast'], ['exact', 'full']]);
    expect([find('exit').hidden, find('expected').hidden]).toEqual([false, true]);
    send({ ...state, decoding: 'full' });
    expect([shown('mode'), shown('on')]).toEqual([['exact', 'fast', 'full'], ['full']]);
  });

  it('moves the focus where the focused button disappears: to the slider, or to the button of the other mode', () => {
    const { find, send } = open();
    send(state);
    find('use-fast').focus();
    send(fast);
    expect(Element.focused).toBe(find('threshold'));
    find('use-exact').focus();
    send(state);
    expect(Element.focused).toBe(find('use-fast'));
  });

  it('takes the focus from no other element', () => {
    const { find, send } = open();
    find('presets').focus();
    send(fast);
    expect(Element.focused).toBe(find('presets'));
  });

  it('shows today by name, and offers Show Layers once there is a completion', () => {
    const { find, send, sent } = open();
    send(state);
    expect([find('today').children, find('show-layers').hidden]).toEqual([[], true]);
    send(stateMessage(snapshot({ energy }), []));
    expect(find('today').children.slice(2, 4).map(({ textContent }) => textContent)).toEqual(['Suggestions accepted', '30% (3 of 10)']);
    expect(find('show-layers').hidden).toBe(false);
    find('show-layers').listeners.get('click')!();
    expect(sent.at(-1)).toEqual({ type: 'layers' });
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
