import fs from 'node:fs';
import path from 'node:path';
import vm from 'node:vm';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

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
    // attributes are not tested here
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
  const state = { type: 'state', threshold: 0.8, noEffect: 'Decoding is exact.', bars: [], barsLabel: '', summary: '', today: '' };

  function open() {
    const { find, document } = makeDocument();
    const receivers: ((event: { data: unknown }) => void)[] = [];
    const window = { addEventListener: (_: string, receive: (event: { data: unknown }) => void) => receivers.push(receive) };
    const file = path.join(ROOT, 'extension/media/threshold.js');
    vm.runInNewContext(fs.readFileSync(file, 'utf8'), { document, window, setTimeout, clearTimeout, acquireVsCodeApi: () => ({ postMessage: () => undefined }) });
    const send = (data: unknown) => receivers.forEach((receive) => receive({ data }));
    const steps = Array.from({ length: 51 }, () => ({ text: '', label: '', words: '', point: null }));
    send({ type: 'scale', presets: [], curve: [], steps });
    find('no-effect').children.push(new Element(), find('use-fast'));
    return { find, send };
  }

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
