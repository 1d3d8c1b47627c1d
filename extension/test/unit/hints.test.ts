import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { Memento } from 'vscode';

import { isListHidden } from '../../src/hints/editorList';
import { Hints } from '../../src/hints/hints';
import { Store } from '../../src/state/store';
import { defaults, energy } from './samples';
import { commands, configuration, window } from './vscode';

const HIDDEN = { other: 'offWhenInlineCompletions', comments: 'off', strings: 'off' };

function make(memory = new Map<string, unknown>()) {
  const memento = { get: (key: string) => memory.get(key), update: (key: string, value: unknown) => Promise.resolve(memory.set(key, value)) };
  const store = new Store(defaults);
  const hints = new Hints(store, memento as unknown as Memento, (error) => expect(error).toBeUndefined());
  const shown = (count: number) => store.update({ energy: { ...energy, session: { ...energy.session, shown: count } } });
  return { hints, shown, memory };
}

const messages = () => vi.spyOn(window, 'showInformationMessage');
const texts = (spy: ReturnType<typeof messages>) => spy.mock.calls.map(([text]) => String(text).split(/[ ,]/)[0]);

beforeEach(() => {
  window.activeTextEditor = { document: { uri: { scheme: 'file' }, languageId: 'python' } };
});
afterEach(() => {
  vi.restoreAllMocks();
  configuration.reset();
  window.activeTextEditor = undefined;
});

describe('the editor hides its list', () => {
  it.each<[string, unknown, { readonly other?: string | undefined } | null | undefined, boolean]>([
    ['by default', HIDDEN, undefined, true],
    ['not in an editor that opens it', { other: 'on', comments: 'off', strings: 'off' }, undefined, false],
    ['not in an editor whose setting is a switch', true, undefined, false],
    ['where the user chose for comments alone', HIDDEN, { ...HIDDEN, other: undefined }, true],
    ['but nobody is asked who chose so', HIDDEN, HIDDEN, false],
    ['but nobody is asked who switched it off', HIDDEN, { other: 'off' }, false],
    ['nor where the setting is no setting', HIDDEN, null, false],
  ])('%s', (_, byDefault, chosen, hidden) => {
    configuration.defaults.set('quickSuggestions', byDefault);
    if (chosen !== undefined) {
      configuration.user.set('quickSuggestions', chosen);
      configuration.languages.set('python', new Map([['quickSuggestions', { ...HIDDEN, ...(chosen?.other === undefined ? {} : chosen) }]])); // what is in force
    }
    expect(isListHidden('python')).toBe(hidden);
  });
});

describe('a new user', () => {
  it('is told the keys after the first accepted suggestion, once', () => {
    const shown = messages();
    const { hints, memory } = make();
    hints.accepted();
    hints.accepted();
    make(memory).hints.accepted(); // in another window
    expect(texts(shown)).toEqual(['Tab']);
  });

  it('is asked about the list first, once, where the editor hides it', () => {
    configuration.defaults.set('quickSuggestions', HIDDEN);
    const told = messages();
    const { hints, shown, memory } = make();
    hints.accepted();
    expect(texts(told)).toEqual(['VS']);
    hints.accepted();
    shown(20);
    make(memory).shown(20);
    expect(texts(told)).toEqual(['VS', 'Tab']);
  });

  it('who accepts nothing is asked after ten suggestions', () => {
    configuration.defaults.set('quickSuggestions', HIDDEN);
    const told = messages();
    const { shown } = make();
    shown(9);
    expect(told).not.toHaveBeenCalled();
    shown(10);
    shown(11);
    expect(texts(told)).toEqual(['VS']);
  });

  it('is not asked in a file that has no suggestions', () => {
    configuration.defaults.set('quickSuggestions', HIDDEN);
    const told = messages();
    const { shown } = make();
    window.activeTextEditor = { document: { uri: { scheme: 'file' }, languageId: 'markdown' } };
    shown(20);
    expect(told).not.toHaveBeenCalled();
    window.activeTextEditor = { document: { uri: { scheme: 'file' }, languageId: 'python' } };
    shown(21);
    expect(texts(told)).toEqual(['VS']);
  });

  it('is not asked where the editor shows both', () => {
    const told = messages();
    make().shown(50);
    expect(told).not.toHaveBeenCalled();
  });

  it.each<[string | undefined, unknown[]]>([
    ['Show Both', [{ key: 'quickSuggestions', value: { strings: 'on', other: 'on' }, target: 1 }]],
    ['Only Green Code', []],
    [undefined, []],
  ])('answers %s, and the setting follows', async (answer, updates) => {
    configuration.defaults.set('quickSuggestions', HIDDEN);
    configuration.user.set('quickSuggestions', { strings: 'on' });
    configuration.languages.set('python', new Map([['quickSuggestions', { ...HIDDEN, strings: 'on' }]]));
    const asked = messages().mockResolvedValue(answer);
    make().hints.accepted();
    await vi.waitFor(() => expect(asked).toHaveBeenCalled());
    await new Promise((next) => setTimeout(next));
    expect(configuration.updates).toEqual(updates);
  });

  it('can open the keys', async () => {
    messages().mockResolvedValue('Keyboard Shortcuts');
    const done = vi.spyOn(commands, 'executeCommand');
    make().hints.accepted();
    await vi.waitFor(() => expect(done.mock.calls).toEqual([['workbench.action.openGlobalKeybindings', 'inlineSuggest']]));
  });
});
