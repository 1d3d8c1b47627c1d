import os from 'node:os';

import { afterEach, describe, expect, it, vi } from 'vitest';

import { commandTable, type Parts } from '../../src/commands/commands';
import { COMMANDS, CONTEXTS } from '../../src/ids';
import { COMMAND_ACCEPTED, type Explanation } from '../../src/protocol';
import { tickThreshold } from '../../src/walkthrough';
import { defaults } from './samples';
import { commands, configuration, env, window } from './vscode';

afterEach(() => {
  vi.restoreAllMocks();
  configuration.reset();
  window.activeTextEditor = undefined;
});

describe('Diagnose', () => {
  const asked: string[][] = [];
  const shown: string[][] = [];
  const found = `fail  cache: ${os.homedir()}/.cache/green-code is missing\n`;
  const parts = {
    store: { snapshot: { settings: { ...defaults, model: 'tiny-random' } } },
    supervisor: {
      runDaemon: (args: string[]) => {
        asked.push(args);
        return Promise.resolve({ code: 1, stdout: found, stderr: '' });
      },
    },
    documents: { show: (...args: string[]) => Promise.resolve(shown.push(args)) },
  } as unknown as Parts;
  const redacted = 'fail  cache: ~/.cache/green-code is missing\n';

  it('shows what doctor says of the model in force, and copies what it shows, without the home folder', async () => {
    vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Copy');
    const copied = vi.spyOn(env.clipboard, 'writeText');
    await commandTable(parts)[COMMANDS.diagnose]!();
    expect(asked).toEqual([['doctor', '--model=tiny-random']]);
    expect(shown).toEqual([['Diagnosis.txt', redacted]]);
    expect(copied.mock.calls).toEqual([[redacted]]);
  });

  it('leaves the clipboard alone unless asked', async () => {
    const copied = vi.spyOn(env.clipboard, 'writeText');
    await commandTable(parts)[COMMANDS.diagnose]!();
    expect(copied).not.toHaveBeenCalled();
  });

  it('ends the daemon that it asked when it is cancelled, and shows nothing of what came until then', async () => {
    const cancelled = {
      onCancellationRequested: (stop: () => void) => {
        stop();
      },
    };
    vi.spyOn(window, 'withProgress').mockImplementation((_, task) => task({}, cancelled));
    const told = vi.spyOn(window, 'showInformationMessage');
    const show = vi.fn();
    const ended: boolean[] = [];
    const supervisor = {
      runDaemon: (_: string[], signal: AbortSignal) => {
        ended.push(signal.aborted);
        return Promise.resolve({ code: null, stdout: 'ok    half a diagnosis', stderr: '' });
      },
    };
    await commandTable({ ...parts, supervisor, documents: { show } } as unknown as Parts)[COMMANDS.diagnose]!();
    expect(ended).toEqual([true]);
    expect(show).not.toHaveBeenCalled();
    expect(told).not.toHaveBeenCalled();
  });
});

describe('Why No Suggestion?', () => {
  it('logs the reason, and none of the code that was completed', async () => {
    const logged: string[] = [];
    const last = {
      text: 'hunter2',
      tokens: [{ text: 'hunter2', layers: 9 }],
      layers_total: 18,
      energy_joules: 1,
      energy_source: 'estimate',
      saving: 0.5,
      threshold: 0.8,
      decoding: 'fast',
    } as const;
    const told: Explanation = { reason: 'empty', message: 'Nothing to add.', action: null, last };
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      supervisor: { explain: () => Promise.resolve(told) },
      channels: { extension: { info: (line: string) => logged.push(line) } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(logged.join('\n')).toContain('Nothing to add.');
    expect(logged.join('\n')).not.toContain('hunter2');
  });

  it.each([
    ['Switch greenCode.completeInComments on to have suggestions there.', 'It is off (greenCode.enabled).', '@id:greenCode.completeInComments'],
    ['See the settings under greenCode.', 'The file is excluded by *.key (greenCode.excludedFiles).', '@id:greenCode.excludedFiles'],
    [null, 'The language go is not among greenCode.languages (python).', '@id:greenCode.languages'],
    ['greenCode.toggle', 'The cursor is inside a comment.', null],
    [null, 'The cursor is inside a comment.', null],
  ])('opens the setting that is named in the action %j, or in %j: %j', async (action, message, opened) => {
    const offered = vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Open Setting');
    const done = vi.spyOn(commands, 'executeCommand');
    const told: Explanation = { reason: 'in_comment', message, action, last: null };
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      supervisor: { explain: () => Promise.resolve(told) },
      channels: { extension: { info: () => undefined } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(offered.mock.calls[0]?.includes('Open Setting')).toBe(opened !== null);
    if (opened !== null) {
      expect(done.mock.calls).toEqual([['workbench.action.openSettings', opened]]);
    }
  });

  const look = (languageId: string, scheme = 'file') => (window.activeTextEditor = { document: { uri: { scheme }, languageId } });

  it.each([
    ['a language that was not chosen', () => look('cobol'), {}, '@id:greenCode.languages'],
    ['inline suggestions that are off', () => configuration.user.set('inlineSuggest.enabled', false), {}, '@id:editor.inlineSuggest.enabled'],
    ['our own that are off', () => look('python'), { enabled: false }, '@id:greenCode.enabled'],
  ])('names what keeps the editor from asking: %s', async (_, begin, settings, opened) => {
    begin();
    vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Open Setting');
    const done = vi.spyOn(commands, 'executeCommand');
    const explain = vi.fn();
    const parts = { store: { snapshot: { phase: 'running', settings: { ...defaults, ...settings } } }, supervisor: { explain } } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(done.mock.calls).toEqual([['workbench.action.openSettings', opened]]);
    expect(explain).not.toHaveBeenCalled();
  });

  it.each([
    ['output', 'Nothing to add.'], // the panel has the focus, and the file is still what is meant
    ['git', 'Green Code does not complete in documents of this kind (git).'],
  ])('looks at documents alone: %s', async (scheme, text) => {
    look('log', scheme);
    const told = vi.spyOn(window, 'showInformationMessage');
    const explain = () => Promise.resolve({ reason: 'empty', message: 'Nothing to add.', action: null, last: null });
    const parts = {
      store: { snapshot: { phase: 'running', settings: defaults } },
      supervisor: { explain },
      channels: { extension: { info: () => undefined } },
    } as unknown as Parts;
    await commandTable(parts)[COMMANDS.whyNoSuggestion]!();
    expect(told.mock.calls[0]?.[0]).toBe(text);
  });

  it('offers to set up where nothing is set up yet', async () => {
    vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Set Up');
    const done = vi.spyOn(commands, 'executeCommand');
    await commandTable({ store: { snapshot: { phase: 'setUp' } } } as unknown as Parts)[COMMANDS.whyNoSuggestion]!();
    expect(done.mock.calls).toEqual([[COMMANDS.setUp]]);
  });
});

describe('Delete Energy History', () => {
  it('leaves no figures of today behind, also where no front runs', async () => {
    vi.spyOn(window, 'showWarningMessage').mockResolvedValue('Delete');
    const update = vi.fn();
    const supervisor = { runDaemon: () => Promise.resolve({ code: 0, stdout: '', stderr: '' }), isRunning: false };
    await commandTable({ store: { update }, supervisor, report: { visible: true } } as unknown as Parts)[COMMANDS.deleteHistory]!();
    expect(update.mock.calls).toEqual([[{ energy: null, today: null }]]);
  });
});

describe('the walkthrough', () => {
  const ticked = () => vi.spyOn(commands, 'executeCommand');
  const context = (step: keyof typeof CONTEXTS) => [['setContext', CONTEXTS[step], true]];

  it('has seen a completion once one was accepted', async () => {
    const done = ticked();
    await commandTable({ supervisor: { accepted: () => undefined } } as unknown as Parts)[COMMAND_ACCEPTED]!('7');
    expect(done.mock.calls).toEqual(context('complete'));
  });

  it.each([true, false])('has seen the report once it is shown, not where there is none: %s', async (exists) => {
    const done = ticked();
    const report = () => (exists ? Promise.resolve({}) : Promise.reject(new Error('no front')));
    const parts = { store: { snapshot: { settings: defaults } }, supervisor: { report }, report: { show: () => undefined } } as unknown as Parts;
    await Promise.resolve(commandTable(parts)[COMMANDS.energyReport]!()).catch(() => undefined);
    expect(done.mock.calls).toEqual(exists ? context('report') : []);
  });

  it('has set a threshold when the threshold is another one', () => {
    const done = ticked();
    tickThreshold(defaults, { ...defaults, maxLines: 3 });
    expect(done).not.toHaveBeenCalled();
    tickThreshold(defaults, { ...defaults, threshold: 0.7 });
    expect(done.mock.calls).toEqual(context('threshold'));
  });
});
