import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { commandTable, type Parts } from '../../src/commands/commands';
import { Contexts } from '../../src/contexts';
import { COMMANDS, CONDITIONS } from '../../src/ids';
import { Store } from '../../src/state/store';
import { StatusItem } from '../../src/status/item';
import { activeLanguage, toggleLanguage } from '../../src/status/languages';
import { entries, showMenu } from '../../src/status/menu';
import { pickSnooze, Snooze } from '../../src/status/snooze';
import { UNCALIBRATED } from '../../src/threshold/calibration';
import { defaults, snapshot } from './samples';
import { commands, configuration, ConfigurationTarget, events, window, workspace } from './vscode';

const markdown = { id: 'markdown', name: 'Markdown', isOn: false };
const python = { id: 'python', name: 'Python', isOn: true };
const focus = (languageId: string, scheme = 'file') => (window.activeTextEditor = { document: { uri: { scheme }, languageId } });
/** Chooses the entry whose label has this text. */
const choose = (text: string) => vi.spyOn(window, 'showQuickPick').mockImplementation((items) => Promise.resolve(items.find((item) => (item as { label: string }).label.includes(text))));

afterEach(() => {
  vi.restoreAllMocks();
  vi.useRealTimers();
  configuration.reset();
  events.clear();
  window.activeTextEditor = undefined;
  workspace.workspaceFolders = undefined;
  workspace.textDocuments.length = 0;
  workspace.isTrusted = true;
});

describe('the menu', () => {
  const labels = (...args: Parameters<typeof entries>) => entries(...args).map(({ label }) => label.replace(/^\$\(\S+\) /, ''));
  const first = (...args: Parameters<typeof entries>) => labels(...args)[0];

  it('begins with what is needed where the user is', () => {
    expect(labels(snapshot(), python).slice(0, 3)).toEqual(['Disable for Python', 'Snooze…', 'Turn Suggestions Off']);
    expect(first(snapshot(), markdown)).toBe('Enable for Markdown');
    expect(first(snapshot({ settings: { ...defaults, enabled: false } }), markdown)).toBe('Turn Suggestions On');
    expect(first(snapshot({ snooze: 5 }), python)).toBe('Resume Suggestions');
    expect(first(snapshot(), null)).toBe('Snooze…');
  });

  it('shows stop, mode and model, and offers the other mode', () => {
    const settings = { ...defaults, suggestions: 'sure', decoding: 'fast', model: 'tiny' } as const;
    const all = entries(snapshot({ settings }), python);
    const described = (command: string) => all.find((entry) => entry.command === command);
    expect(described(COMMANDS.setThreshold)).toMatchObject({ description: 'Sure' });
    expect(described(COMMANDS.switchMode)).toMatchObject({ label: '$(arrow-swap) Switch to Exact Mode', description: 'now Fast' });
    expect(described(COMMANDS.chooseModel)).toMatchObject({ description: 'tiny' });
  });

  it.each([
    ['Model', [COMMANDS.chooseModel]],
    ['Settings', ['workbench.action.openSettings', '@ext:green-code.green-code']],
    ['Keyboard Shortcuts', ['workbench.action.openGlobalKeybindings', 'inlineSuggest']],
    ['Snooze…', [COMMANDS.snooze]],
  ])('runs %s', async (label, call) => {
    choose(label);
    const done = vi.spyOn(commands, 'executeCommand');
    await showMenu(snapshot(), python);
    expect(done.mock.calls).toEqual([call]);
  });
});

describe('the active language', () => {
  it('has the editor\'s name for it', () => {
    focus('markdown');
    expect(activeLanguage(defaults)).toEqual(markdown);
    focus('dart', 'untitled'); // without an alias
    expect(activeLanguage(defaults)).toEqual({ id: 'dart', name: 'dart', isOn: false });
  });

  it('is only that of a document', () => {
    expect(activeLanguage(defaults)).toBeNull();
    focus('log', 'output');
    expect(activeLanguage(defaults)).toBeNull();
  });
});

describe('switching a language', () => {
  const chosen = { ...defaults, languages: ['python', 'java'] };
  beforeEach(() => void configuration.user.set('languages', ['python', 'java']));
  const { Global, Workspace } = ConfigurationTarget;

  it.each([
    ['Everywhere', Global],
    ['Only in this workspace', Workspace],
  ])('writes where the user says: %s', async (where, target) => {
    workspace.workspaceFolders = [{}];
    focus('markdown');
    choose(where);
    await toggleLanguage(chosen);
    expect(configuration.updates).toEqual([{ key: 'languages', value: ['python', 'java', 'markdown'], target }]);
  });

  it('takes a language away', async () => {
    focus('python');
    await toggleLanguage(chosen);
    expect(configuration.updates).toEqual([{ key: 'languages', value: ['java'], target: Global }]);
  });

  it('for the user also changes the list of a workspace, which would hide it', async () => {
    configuration.workspace.set('languages', ['dart']);
    workspace.workspaceFolders = [{}];
    focus('markdown');
    choose('Everywhere');
    await toggleLanguage({ ...defaults, languages: ['dart'] });
    expect(configuration.updates.map(({ value, target }) => [value, target])).toEqual([
      [['python', 'java', 'markdown'], Global],
      [['dart', 'markdown'], Workspace],
    ]);
  });

  it('asks nothing where only the user has settings', async () => {
    workspace.workspaceFolders = [{}];
    workspace.isTrusted = false; // its settings are not used
    focus('markdown');
    const asked = vi.spyOn(window, 'showQuickPick');
    await toggleLanguage(chosen);
    expect(asked).not.toHaveBeenCalled();
    expect(configuration.updates.map(({ target }) => target)).toEqual([Global]);
  });

  it('switches the language that a message named, in whatever file the user is now', async () => {
    focus('python');
    await toggleLanguage(chosen, 'markdown');
    expect(configuration.updates.map(({ value }) => value)).toEqual([['python', 'java', 'markdown']]);
  });

  it('begins with the default where the settings have no list', async () => {
    configuration.user.set('languages', 'python');
    focus('markdown');
    await toggleLanguage(chosen);
    expect(configuration.updates.map(({ value }) => value)).toEqual([[...defaults.languages, 'markdown']]);
  });

  it('changes nothing when the list is closed', async () => {
    workspace.workspaceFolders = [{}];
    focus('markdown');
    await toggleLanguage(chosen);
    expect(configuration.updates).toEqual([]);
  });
});

describe('Snooze', () => {
  beforeEach(() => void vi.useFakeTimers());

  function make() {
    const store = new Store(defaults);
    const switched = vi.fn();
    return { store, switched, snooze: new Snooze(store, switched) };
  }

  it('counts minutes, and ends by itself', () => {
    const { store, switched, snooze } = make();
    const seen: (number | null)[] = [];
    store.onChange((now) => seen.push(now.snooze));
    snooze.start(3);
    vi.advanceTimersByTime(3 * 60_000);
    expect(seen).toEqual([3, 2, 1, null]);
    expect(switched).toHaveBeenCalledTimes(2); // off and on: the front hears nothing between
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends on request', () => {
    const { store, snooze } = make();
    snooze.start(60);
    snooze.resume();
    expect([store.snapshot.snooze, vi.getTimerCount()]).toEqual([null, 0]);
  });

  it('lasts until a restart without a timer', () => {
    const { store, snooze } = make();
    snooze.start(Infinity);
    expect([store.snapshot.snooze, vi.getTimerCount()]).toEqual([Infinity, 0]);
  });

  it('is over when the machine slept meanwhile', () => {
    const { store, snooze } = make();
    snooze.start(15);
    vi.setSystemTime(Date.now() + 8 * 3_600_000);
    vi.advanceTimersByTime(60_000);
    expect(store.snapshot.snooze).toBeNull();
  });

  it.each([
    ['5 minutes', 5],
    ['1 hour', 60],
    ['Until VS Code restarts', Infinity],
  ])('offers %s', async (label, minutes) => {
    choose(label);
    expect(await pickSnooze()).toBe(minutes);
  });

  it('is ended by Toggle, which leaves the setting', async () => {
    const { store, snooze } = make();
    snooze.start(5);
    await commandTable({ store, snooze } as unknown as Parts)[COMMANDS.toggle]!();
    expect([store.snapshot.snooze, configuration.updates]).toEqual([null, []]);
  });

  it('does not outlast Toggle where suggestions are off as well', async () => {
    const { store, snooze } = make();
    store.update({ settings: { ...defaults, enabled: false } });
    snooze.start(Infinity);
    await commandTable({ store, snooze } as unknown as Parts)[COMMANDS.toggle]!();
    expect(store.snapshot.snooze).toBeNull();
    expect(configuration.updates).toMatchObject([{ key: 'enabled', value: true }]);
  });
});

describe('the mode', () => {
  it.each([
    ['exact', 'fast'],
    ['fast', 'exact'],
    ['full', 'exact'],
  ] as const)('is switched from %s to %s', async (decoding, other) => {
    const store = new Store({ ...defaults, decoding });
    await commandTable({ store } as unknown as Parts)[COMMANDS.switchMode]!();
    expect(configuration.updates).toMatchObject([{ key: 'decoding', value: other }]);
  });
});

describe('Escape', () => {
  it('hides the suggestion, and the front hears of it', async () => {
    const order: string[] = [];
    vi.spyOn(commands, 'executeCommand').mockImplementation((id) => Promise.resolve(String(order.push(String(id)))));
    const requests = { dismissed: () => order.push('greenCode/dismissed') };
    await commandTable({ requests } as unknown as Parts)[COMMANDS.dismiss]!();
    expect(order).toEqual(['greenCode/dismissed', 'editor.action.inlineSuggest.hide']);
  });

  it('is ours only in languages in which a front answers', () => {
    const set = vi.spyOn(commands, 'executeCommand');
    const store = new Store(defaults);
    const contexts = new Contexts(store);
    const answersIn = () => set.mock.calls.filter(([, key]) => key === CONDITIONS.answersIn).map(([, , value]) => value);
    store.update({ phase: 'starting' });
    store.update({ phase: 'running' });
    store.update({ detail: 'something else' });
    store.update({ snooze: 5 });
    store.update({ snooze: null });
    store.update({ settings: { ...defaults, enabled: false } });
    expect(answersIn()).toEqual([[], defaults.languages, [], defaults.languages, []]);
    contexts.dispose();
  });
});

describe('the status item', () => {
  function make(phase: 'idle' | 'running') {
    const item = { ...window.createStatusBarItem(), show: vi.fn(), hide: vi.fn() };
    vi.spyOn(window, 'createStatusBarItem').mockReturnValue(item);
    const store = new Store(defaults);
    store.update({ phase });
    const drawn = new StatusItem(store, () => Promise.resolve(UNCALIBRATED));
    const isShown = () => (item.show.mock.invocationCallOrder.at(-1) ?? 0) > (item.hide.mock.invocationCallOrder.at(-1) ?? 0);
    return { item, drawn, isShown };
  }

  it.each(['idle', 'running'] as const)('stays in a file whose language is off, and shows that: %s', async (phase) => {
    const { item, drawn, isShown } = make(phase);
    focus('markdown');
    events.fire('onDidChangeActiveTextEditor', undefined);
    await vi.waitFor(() => expect(item.text).toBe('$(green-code-leaf-off)'));
    expect(isShown()).toBe(true);
    focus('python');
    events.fire('onDidChangeActiveTextEditor', undefined);
    await vi.waitFor(() => expect(item.text).not.toBe('$(green-code-leaf-off)'));
    expect(isShown()).toBe(phase === 'running');
    drawn.dispose();
  });
});
