import os from 'node:os';

import { afterEach, describe, expect, it, vi } from 'vitest';
import type { Memento } from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

import { Requests } from '../../src/client/requests';
import { commandTable, showFailure, type Parts } from '../../src/commands/commands';
import { COMMANDS, CONTEXTS } from '../../src/ids';
import { t } from '../../src/l10n';
import { Channels } from '../../src/log';
import { COMMAND_ACCEPTED, LSP_ACCEPTED, LSP_RESET_GATE, type Explanation } from '../../src/protocol';
import { Store } from '../../src/state/store';
import { UNCALIBRATED } from '../../src/threshold/calibration';
import { markDone, markThresholdDone, restoreDone } from '../../src/walkthrough';
import { defaults, snapshot } from './samples';
import { commands, configuration, env, events, window } from './vscode';

afterEach(() => {
  vi.restoreAllMocks();
  configuration.reset();
  window.activeTextEditor = undefined;
  env.language = 'en';
});

describe('Diagnose', () => {
  const runs: string[][] = [];
  const shown: string[][] = [];
  const found = `fail  cache: ${os.homedir()}/.cache/green-code is missing\n`;
  const parts = {
    store: { snapshot: { settings: { ...defaults, model: 'tiny-random' } } },
    daemon: {
      run: (args: string[]) => {
        runs.push(args);
        return Promise.resolve({ code: 1, stdout: found, stderr: '' });
      },
    },
    documents: { show: (...args: string[]) => Promise.resolve(shown.push(args)) },
  } as unknown as Parts;
  const redacted = 'fail  cache: ~/.cache/green-code is missing\n';

  it('shows and copies doctor\'s output for the current model, without the home folder', async () => {
    vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Copy');
    const copied = vi.spyOn(env.clipboard, 'writeText');
    await commandTable(parts)[COMMANDS.diagnose]!();
    expect(runs).toEqual([['doctor', '--model=tiny-random']]);
    expect(shown).toEqual([['Diagnosis.txt', redacted]]);
    expect(copied.mock.calls).toEqual([[redacted]]);
  });

  it('copies nothing without the button', async () => {
    const copied = vi.spyOn(env.clipboard, 'writeText');
    await commandTable(parts)[COMMANDS.diagnose]!();
    expect(copied).not.toHaveBeenCalled();
  });

  it('stops doctor when it is cancelled, and shows none of its output', async () => {
    const cancelled = {
      onCancellationRequested: (stop: () => void) => {
        stop();
      },
    };
    vi.spyOn(window, 'withProgress').mockImplementation((_, task) => task({}, cancelled));
    const notified = vi.spyOn(window, 'showInformationMessage');
    const show = vi.fn();
    const ended: boolean[] = [];
    const daemon = {
      run: (_: string[], signal: AbortSignal) => {
        ended.push(signal.aborted);
        return Promise.resolve({ code: null, stdout: 'ok    half a diagnosis', stderr: '' });
      },
    };
    await commandTable({ ...parts, daemon, documents: { show } } as unknown as Parts)[COMMANDS.diagnose]!();
    expect(ended).toEqual([true]);
    expect(show).not.toHaveBeenCalled();
    expect(notified).not.toHaveBeenCalled();
  });
});

const EMPTY: Explanation = { reason: 'empty', code: 'empty', values: {}, message: 'Nothing.', action: '', uri: null, seconds_ago: null, last: null };

describe('Why No Suggestion?', () => {
  it('logs the reason, but none of the completed code', async () => {
    const logged: string[] = [];
    const last = {
      text: 'hunter2',
      tokens: [{ text: 'hunter2', layers: 9, draft: '' }],
      passes: 1,
      layers_total: 18,
      energy_joules: 1,
      energy_source: 'estimate',
      saving: 0.5,
      threshold: 0.8,
      decoding: 'fast',
    } as const;
    const explanation = { ...EMPTY, message: 'Nothing to add.', last };
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      requests: { explain: () => Promise.resolve(explanation) },
      channels: { extension: { info: (line: string) => logged.push(line) } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(logged.join('\n')).toContain('Nothing to add.');
    expect(logged.join('\n')).not.toContain('hunter2');
  });

  it.each([
    ['Switch greenCode.completeInComments on to have suggestions there.', 'It is off (greenCode.enabled).', '@id:greenCode.completeInComments'],
    ['See the settings under greenCode.', 'The file is excluded by *.key (greenCode.excludedFiles).', '@id:greenCode.excludedFiles'],
    ['', 'The language go is not among greenCode.languages (python).', '@id:greenCode.languages'],
    ['greenCode.toggle', 'The cursor is inside a comment.', null],
    ['', 'The cursor is inside a comment.', null],
  ])('opens the setting in the action %j, or in the message %j: %j', async (action, message, opened) => {
    const offered = vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Open Setting');
    const done = vi.spyOn(commands, 'executeCommand');
    const explanation = { ...EMPTY, code: 'newer_than_this_extension', message, action };
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      requests: { explain: () => Promise.resolve(explanation) },
      channels: { extension: { info: () => undefined } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(offered.mock.calls[0]?.includes('Open Setting')).toBe(opened !== null);
    if (opened !== null) {
      expect(done.mock.calls).toEqual([['workbench.action.openSettings', opened]]);
    }
  });

  const focus = (languageId: string, scheme = 'file') => (window.activeTextEditor = { document: { uri: { scheme }, languageId } });

  it.each([
    ['inline suggestions that are off', () => configuration.user.set('inlineSuggest.enabled', false), {}, '@id:editor.inlineSuggest.enabled'],
    ['suggestions that are off', () => focus('python'), { enabled: false }, '@id:greenCode.enabled'],
  ])('names a cause in the editor: %s', async (_, begin, settings, opened) => {
    begin();
    vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Open Setting');
    const done = vi.spyOn(commands, 'executeCommand');
    const explain = vi.fn();
    const parts = { store: { snapshot: { phase: 'running', settings: { ...defaults, ...settings } } }, requests: { explain } } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(done.mock.calls).toEqual([['workbench.action.openSettings', opened]]);
    expect(explain).not.toHaveBeenCalled();
  });

  it.each([
    ['output', `${t('why.empty')} ${t('why.empty.action')}`], // the panel has the focus, but the user means the file
    ['git', t('whyHere.unsupportedDocument', { scheme: 'git' })],
  ])('considers only documents: %s', async (scheme, text) => {
    focus('log', scheme);
    const notified = vi.spyOn(window, 'showInformationMessage');
    const explain = () => Promise.resolve(EMPTY);
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      requests: { explain },
      channels: { extension: { info: () => undefined } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(notified.mock.calls[0]?.[0]).toBe(text);
  });

  const answered = async (explanation: Explanation) => {
    const notified = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      requests: { explain: () => Promise.resolve(explanation) },
      channels: { extension: { info: () => undefined } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    return notified.mock.lastCall?.[0];
  };

  const edit = (uri: string, languageId: string) => {
    const parsed = { scheme: 'file', toString: () => uri };
    window.activeTextEditor = { document: { uri: parsed, languageId } };
  };

  it.each([
    ['a language that is off', () => focus('markdown'), {}, 'Suggestions are off for Markdown.', [COMMANDS.toggleLanguage, 'markdown']], // the user may have left the file since
    ['Snooze', () => focus('python'), { snooze: 5 }, 'Suggestions are snoozed in this window.', [COMMANDS.resume]],
  ])('ends the cause with one click: %s', async (_, begin, state, text, call) => {
    begin();
    const offered = vi.spyOn(window, 'showInformationMessage').mockImplementation((_text, button) => Promise.resolve(String(button)));
    const done = vi.spyOn(commands, 'executeCommand');
    await commandTable({ store: { snapshot: snapshot(state) } } as unknown as Parts)[COMMANDS.whyNoSuggestion]!();
    expect(offered.mock.calls[0]?.[0]).toContain(text);
    expect(done.mock.calls).toEqual([call]);
  });

  it('is in the language of the editor, with its numbers', async () => {
    env.language = 'de';
    const large = { ...EMPTY, code: 'large_file', values: { characters: '2000001', limit: '2000000' }, message: 'Too large.' };
    expect(await answered(large)).toBe('Diese Datei ist zu groß: 2.000.001 Zeichen, höchstens 2.000.000.');
    const damaged = { ...EMPTY, code: 'model_damaged', values: { detail: 'x.bin is damaged.' }, message: 'x.bin is damaged.' };
    expect(await answered(damaged)).toMatch(/^Die Dateien des Modells sind beschädigt\. x\.bin is damaged\. .*„Green Code: Diagnose“/);
  });

  it('gives no answer about another document, and says which one it means where none is open', async () => {
    const other = { ...EMPTY, uri: 'file:///src/other.py', seconds_ago: 130 };
    edit('file:///src/main.py', 'python');
    expect(await answered(other)).toBe(t('whyHere.notAskedYet'));
    expect(await answered({ ...other, uri: 'file:///src/main.py' })).toContain(t('why.empty'));
    window.activeTextEditor = undefined;
    expect(await answered(other)).toMatch(/^No file is open\. The last request was 2 minutes ago in src\/other\.py: The model had nothing/);
  });

  it('calls a file excluded, not a language', async () => {
    edit('file:///app/.env', 'dotenv');
    expect(await answered(EMPTY)).toBe(t('why.excluded_file', { glob: '**/.env*' }));
  });

  it('offers Set Up where nothing is set up yet', async () => {
    vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Set Up');
    const done = vi.spyOn(commands, 'executeCommand');
    await commandTable({ store: { snapshot: { phase: 'setUp' } } } as unknown as Parts)[COMMANDS.whyNoSuggestion]!();
    expect(done.mock.calls).toEqual([[COMMANDS.setUp]]);
  });
});

describe('Delete Energy History', () => {
  it('clears today\'s figures, even where no front runs', async () => {
    vi.spyOn(window, 'showWarningMessage').mockResolvedValue('Delete');
    const update = vi.fn();
    const daemon = { run: () => Promise.resolve({ code: 0, stdout: '', stderr: '' }) };
    await commandTable({ store: { update }, daemon, requests: { isConnected: false }, report: { visible: true } } as unknown as Parts)[COMMANDS.deleteHistory]!();
    expect(update.mock.calls).toEqual([[{ energy: null, today: null }]]);
  });
});

describe('an accepted completion', () => {
  it('is reported with its id and the number of characters', async () => {
    const sent: unknown[] = [];
    const client = { sendNotification: (...message: unknown[]) => Promise.resolve(sent.push(message)) };
    const requests = new Requests(() => client as unknown as LanguageClient, new Store(defaults), new Channels());
    const accept = commandTable({ requests, hints: { accepted: () => undefined } } as unknown as Parts)[COMMAND_ACCEPTED]!;
    await accept('7', 12);
    await accept('8');
    await accept(9, 12);
    expect(sent).toEqual([[LSP_ACCEPTED, { id: '7', characters: 12 }]]);
  });
});

describe('Forget What Was Learned', () => {
  const reset = (isRunning: boolean) => {
    const sendRequest = vi.fn(() => Promise.resolve({}));
    const client = { isRunning: () => isRunning, sendRequest } as unknown as LanguageClient;
    const requests = new Requests(() => client, new Store(defaults), new Channels());
    return { sendRequest, done: Promise.resolve(commandTable({ requests } as unknown as Parts)[COMMANDS.resetGate]!()) };
  };

  it('asks the front, and says that it is done', async () => {
    const notified = vi.spyOn(window, 'showInformationMessage');
    const { sendRequest, done } = reset(true);
    await done;
    expect(sendRequest.mock.calls).toEqual([[LSP_RESET_GATE, {}]]);
    expect(notified.mock.calls.map(([text]) => text)).toEqual([t('commands.gateReset')]);
  });

  it('says nothing of the kind where no front runs', async () => {
    const notified = vi.spyOn(window, 'showInformationMessage');
    await expect(reset(false).done).rejects.toThrow(t('engine.notRunningYet'));
    expect(notified).not.toHaveBeenCalled();
  });
});

describe('a command that fails', () => {
  it.each([
    ['set-up is missing', 'setUp.notSetUp', 'setUp.setUp', COMMANDS.setUp],
    ['anything else', 'engine.notRunning', 'common.showLog', null],
  ] as const)('offers what helps where %s', async (_, cause, button, command) => {
    const shown = vi.spyOn(window, 'showErrorMessage').mockResolvedValue(t(button));
    const run = vi.spyOn(commands, 'executeCommand');
    const channels = { show: vi.fn() };
    await showFailure({ channels } as unknown as Parts, new Error(t(cause)));
    expect(shown.mock.calls).toEqual([[`Green Code: ${t(cause)}`, t(button)]]);
    expect(run.mock.calls).toEqual(command === null ? [] : [[command]]);
    expect(channels.show).toHaveBeenCalledTimes(command === null ? 1 : 0);
  });
});

describe('the walkthrough', () => {
  const contexts = () => vi.spyOn(commands, 'executeCommand');
  const context = (step: keyof typeof CONTEXTS) => [['setContext', CONTEXTS[step], true]];

  it('has its completion step done once a completion is accepted', async () => {
    const done = contexts();
    await commandTable({ requests: { accepted: () => undefined }, hints: { accepted: () => undefined } } as unknown as Parts)[COMMAND_ACCEPTED]!('7', 12);
    expect(done.mock.calls).toEqual(context('complete'));
  });

  it.each([true, false])('has its report step done only if a report is shown: %s', async (exists) => {
    const done = contexts();
    const report = () => (exists ? Promise.resolve({}) : Promise.reject(new Error('no front')));
    const parts = { store: { snapshot: { settings: defaults } }, requests: { report }, report: { show: () => undefined }, calibration: () => Promise.resolve(UNCALIBRATED) } as unknown as Parts;
    await Promise.resolve(commandTable(parts)[COMMANDS.energyReport]!()).catch(() => undefined);
    expect(done.mock.calls).toEqual(exists ? context('report') : []);
  });

  it('has steps done that were done in an earlier window', () => {
    const remembered = new Map<string, unknown>();
    const memory = { get: (key: string) => remembered.get(key), update: vi.fn((key: string, value: unknown) => Promise.resolve(void remembered.set(key, value))) };
    const restore = () => restoreDone(memory as unknown as Memento);
    restore();
    markDone('complete');
    markDone('complete');
    expect(memory.update).toHaveBeenCalledTimes(1); // each accepted suggestion marks it
    const done = contexts();
    restore();
    expect(done.mock.calls).toEqual(context('complete'));
  });

  it('learns what is done when it is opened: what was true before would never be ticked', () => {
    const open = window.tabGroups.all;
    const done = contexts();
    window.tabGroups.all = [];
    restoreDone({ get: (key: string) => key === CONTEXTS.setUp, update: () => Promise.resolve() } as unknown as Memento);
    markDone('report');
    expect(done).not.toHaveBeenCalled();
    window.tabGroups.all = open;
    events.fire('onDidChangeTabs', undefined);
    expect(done.mock.calls).toEqual([...context('setUp'), ...context('report')]);
  });

  it('has its threshold step done when the stop or the threshold changes', () => {
    const done = contexts();
    markThresholdDone(defaults, { ...defaults, maxLines: 3 });
    expect(done).not.toHaveBeenCalled();
    markThresholdDone(defaults, { ...defaults, threshold: 0.7 });
    expect(done.mock.calls).toEqual(context('threshold'));
    markThresholdDone(defaults, { ...defaults, suggestions: 'sure' });
    expect(done).toHaveBeenCalledTimes(2);
  });
});
