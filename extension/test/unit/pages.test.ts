import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

const ROOT = path.join(import.meta.dirname, '../../..');

/** As much of an element as the scripts of our pages touch. */
class Element {
  static focused: Element | null = null;
  readonly listeners = new Map<string, () => void>();
  readonly dataset: Readonly<Record<string, string>> = {};
  readonly children: Element[] = [];
  readonly style = {};
  readonly writes: string[] = [];
  hidden = false;
  value = '0.8';
  min = '0.5';
  step = '0.01';
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

  setAttribute(): void {
    // none is read
  }

  replaceChildren(...children: Element[]): void {
    this.children.splice(0, Infinity, ...children);
  }
}

/** A page whose elements are there as soon as they are asked for. */
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
  const state = { type: 'state', threshold: 0.8, unused: 'Decoding is exact.', bars: [], barsLabel: '', summary: '', today: '' };

  function open() {
    const { find, document } = makeDocument();
    const receivers: ((event: { data: unknown }) => void)[] = [];
    const window = { addEventListener: (_: string, receive: (event: { data: unknown }) => void) => receivers.push(receive) };
    const file = path.join(ROOT, 'extension/media/threshold.js');
    vm.runInNewContext(fs.readFileSync(file, 'utf8'), { document, window, setTimeout, clearTimeout, acquireVsCodeApi: () => ({ postMessage: () => undefined }) });
    const send = (data: unknown) => receivers.forEach((receive) => receive({ data }));
    const steps = Array.from({ length: 51 }, () => ({ text: '', spoken: '', words: '', point: null }));
    send({ type: 'scale', stops: [], curve: [], steps });
    find('unused').children.push(new Element(), find('use-fast'));
    return { find, send };
  }

  it('leaves the focus on the slider when the button that had it goes', () => {
    const { find, send } = open();
    send(state);
    find('use-fast').focus();
    send({ ...state, unused: '' });
    expect(find('unused').hidden).toBe(true);
    expect(Element.focused).toBe(find('threshold'));
  });

  it('takes the focus from nothing else', () => {
    const { find, send } = open();
    find('stops').focus();
    send({ ...state, unused: '' });
    expect(Element.focused).toBe(find('stops'));
  });

  it('says once why the threshold has no effect, however often it is told', () => {
    const { find, send } = open();
    [state, state, state].forEach(send);
    expect(find('unused').firstElementChild.writes).toEqual(['Decoding is exact.']);
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

  /** Each page of the panel is another one; the editor keeps the state for the next. */
  let kept: unknown;
  async function load() {
    const { find, document } = makeDocument();
    vi.resetModules();
    vi.stubGlobal('document', document);
    vi.stubGlobal('window', { getComputedStyle: () => ({ getPropertyValue: () => '' }) });
    vi.stubGlobal('MutationObserver', class { readonly observe = () => undefined; });
    vi.stubGlobal('acquireVsCodeApi', () => ({ postMessage: () => undefined, getState: () => kept, setState: (state: unknown) => (kept = state) }));
    const script = path.join(ROOT, 'extension/webview/report.mjs');
    await import(/* @vite-ignore */ script);
    return find('refresh');
  }

  it('has the focus on Refresh where that was pressed, and only then', async () => {
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
