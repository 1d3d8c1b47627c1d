import { afterEach, describe, expect, it, vi } from 'vitest';

import { COMMANDS } from '../../src/ids';
import { t } from '../../src/l10n';
import { STATES, type State } from '../../src/protocol';
import { Store, type Phase, type Snapshot } from '../../src/state/store';
import { StatusItem } from '../../src/status/item';
import { escapeMarkdown, present as presentWith } from '../../src/status/presentation';
import { UNCALIBRATED } from '../../src/threshold/calibration';
import { defaults, energy, snapshot, suggestions, totals } from './samples';
import { window, workspace } from './vscode';

const present = (state: Snapshot) => presentWith(state, null, null);
const status = (state: State, message = '', progress: number | null = null) => ({ state, message, progress, reason: null });

describe('the text of the status item', () => {
  const expected: Readonly<Record<State, string>> = {
    starting: '$(loading~spin) Starting',
    loading: '$(loading~spin) Loading 40%',
    ready: '$(green-code-leaf) 34% less energy',
    busy: '$(green-code-leaf) 34% less energy',
    paused: '$(debug-pause) Paused',
    disabled: '$(circle-slash) Off',
    error: '$(error) Green Code',
  };
  it.each(STATES)('in state %s', (state) => {
    const shown = present(snapshot({ energy, status: status(state, '', 0.4) }));
    expect(shown.text).toBe(expected[state]);
    expect(shown.error).toBe(state === 'error');
  });

  it('shows that Set Up is missing, and that it runs', () => {
    expect(present(snapshot({ phase: 'setUp' })).text).toBe('$(green-code-leaf) Set up');
    expect(present(snapshot({ phase: 'settingUp' })).text).toBe('$(loading~spin) Setting up');
  });

  it('shows that there is no model yet, which is no error, and what to do', () => {
    const missing = { ...status('error', 'gemma-3-270m is not on this computer'), reason: 'model_missing' };
    const shown = present(snapshot({ status: missing }));
    expect(shown).toMatchObject({ error: false, text: '$(green-code-leaf) Choose a model', label: 'Green Code. No model: gemma-3-270m is not on this computer.' });
    expect(present(snapshot({ status: { ...missing, reason: 'model_damaged' } })).state).toBe('error');
  });

  it('shows the cause when the front fails', () => {
    const shown = present(snapshot({ phase: 'failed', detail: 'no such file' }));
    expect(shown).toMatchObject({ error: true, text: '$(error) Green Code', label: 'Green Code. Error: no such file.' });
  });

  it('shows Off at once when the user switches off, whatever the engine does', () => {
    const shown = present(snapshot({ settings: { ...defaults, enabled: false }, status: status('busy') }));
    expect(shown.state).toBe('disabled');
  });

  it.each<Phase>(['starting', 'setUp', 'settingUp', 'failed'])('shows only Off where no engine runs either: %s', (phase) => {
    const shown = present(snapshot({ phase, detail: 'no such file', settings: { ...defaults, enabled: false } }));
    expect(shown).toMatchObject({ error: false, text: '$(circle-slash) Off', label: 'Green Code. Off.' });
  });

  it.each(['ready', 'busy'] as const)('shows a problem in state %s', (state) => {
    const refused = { ...status(state, 'The new bundle is refused'), reason: 'bundle_invalid' };
    const shown = present(snapshot({ energy, status: refused }));
    expect(shown.label).toContain('Ready: The new bundle is refused.');
    expect(shown.tooltip).toContain('The new bundle is refused');
    expect(present(snapshot({ status: status(state, 'Ready for more') })).label).toBe('Green Code. Ready.');
  });

  it('labels an estimate', () => {
    const shown = present(snapshot({ status: status('ready'), energy: { ...energy, today: { ...totals, source: 'estimate' } } }));
    expect(shown.text).toBe('$(green-code-leaf) ≈ 34% less energy');
    expect(shown.tooltip).toContain('estimated from CPU time');
  });

  it.each([
    ['before the first completion', 0, 0],
    ['while a few completions swing between loss and saving', 99, -0.01],
    ['where there is none', 200, 0.004],
  ])('shows no saving %s', (_, completions, saving) => {
    const today = { ...totals, completions, saving };
    expect(present(snapshot({ status: status('ready'), energy: { ...energy, today } })).text).toBe('$(green-code-leaf) Green Code');
  });

  it('shows today\'s saving before this window completes anything', () => {
    const shown = present(snapshot({ status: status('ready'), today: { ...totals, source: 'estimate' } }));
    expect(shown.text).toBe('$(green-code-leaf) ≈ 34% less energy');
    expect(shown.label).toBe('Green Code. Ready. Today: 12.4 J saved (34%) over 120 suggestions, estimated from CPU time. 4.00 accepted characters per joule.');
  });

  it('calls a loss more energy', () => {
    const loss = { ...energy, today: { ...totals, saving: -0.031 } };
    expect(present(snapshot({ status: status('ready'), energy: loss })).text).toBe('$(green-code-leaf) 3% more energy');
  });
});

describe('a language that is off', () => {
  const typescript = { id: 'typescript', name: 'Type*Script', isOn: false };
  const shown = (change: Partial<Snapshot>) => presentWith(snapshot({ energy, status: status('ready'), ...change }), null, typescript);

  it('is shown by a leaf that is struck through, and one click switches it on', () => {
    const { text, label, tooltip } = shown({});
    expect([text, label.split('. ')[1]]).toEqual(['$(green-code-leaf-off)', 'Off for Type*Script']);
    expect(tooltip).toContain('**Green Code**: Off for Type\\*Script · [Enable for Type\\*Script](command:greenCode.toggleLanguage)');
  });

  it.each<[string, Partial<Snapshot>, string]>([
    ['a problem is of no concern there', { phase: 'failed', detail: 'no such file' }, 'otherLanguage'],
    ['nor is Snooze', { snooze: 5 }, 'otherLanguage'],
    ['Set Up shows its progress', { phase: 'settingUp' }, 'settingUp'],
    ['off is off', { settings: { ...defaults, enabled: false } }, 'disabled'],
  ])('%s', (_, change, state) => expect(shown(change).state).toBe(state));
});

describe('Snooze', () => {
  it.each([
    [5, '$(bell-slash) 5 min', 'Snoozed, 5 min left'],
    [Infinity, '$(bell-slash) Snoozed', 'Snoozed until VS Code restarts'],
  ])('shows what is left, and ends with a click: %s', (snooze, text, state) => {
    const shown = present(snapshot({ snooze, energy, status: status('disabled', 'It is off.') }));
    expect(shown.text).toBe(text);
    expect(shown.tooltip).toContain(`**Green Code**: ${escapeMarkdown(state)} · [Resume Suggestions](command:greenCode.resume)`);
  });

  it('hides no problem', () => {
    expect(present(snapshot({ snooze: 5, phase: 'failed' })).state).toBe('error');
  });
});

describe('the details', () => {
  const shown = present(snapshot({ status: status('ready'), energy }));

  it('give a screen reader the figures', () => {
    expect(shown.label).toBe(
      'Green Code. Ready. Today: 12.4 J saved (34%) over 120 suggestions, measured on the CPU (RAPL). 4.00 accepted characters per joule. Last suggestion: 13.0 of 18 layers of the model.',
    );
  });

  it('hold today, session and stop in the tooltip', () => {
    expect(shown.tooltip).toContain('| Saved | 12.4 J | 12.4 J |\n| Share saved | 34% | 34% |');
    expect(shown.tooltip).toContain(`| ${t('common.completions')} | 120 | 2 |`);
    expect(shown.tooltip).toContain('Suggestions: Balanced. Model: gemma');
  });

  it.each([
    ['exact', 'Mode: Exact.', 'Switch to Fast Mode'],
    ['fast', 'Mode: Fast.', 'Switch to Exact Mode'],
    ['full', 'Mode: Full.', 'Switch to Exact Mode'],
  ] as const)('name the mode and offer another, and the threshold only where it acts: %s', (decoding, mode, other) => {
    const { tooltip } = present(snapshot({ energy, status: status('ready'), settings: { ...defaults, decoding } }));
    expect(tooltip).toContain(mode);
    expect(tooltip).toContain(`[${other}](command:greenCode.switchMode)`);
    expect(tooltip.includes('Threshold: 0.99.')).toBe(decoding === 'fast');
    expect(tooltip.includes(t('status.lastCompletion', { average: '13.0', each: '9, 18, 12' }))).toBe(decoding === 'fast');
  });

  it('have the share of suggestions that were accepted', () => {
    expect(shown.tooltip).toContain('| Suggestions accepted | 3 of 10 (30%) |');
    const none = { ...totals, shown: 0, accepted: 0 };
    expect(present(snapshot({ energy: { ...energy, today: none } })).tooltip).toContain('| Suggestions accepted | – |');
  });

  it('say what the joules of today brought', () => {
    expect(shown.tooltip).toContain('| Characters accepted | 96 | 96 |\n| Energy per accepted character | 250 mJ | 250 mJ |');
    const nothing = { ...totals, accepted_characters: 0 };
    const none = present(snapshot({ status: status('ready'), energy: { ...energy, today: nothing } })).tooltip;
    expect(none).toContain('| Characters accepted | 0 | 96 |\n| Energy per accepted character | – | 250 mJ |');
    expect(none).toContain('0\\.00 accepted characters per joule');
    const before = { ...nothing, completions: 0, energy_joules: 0 };
    expect(present(snapshot({ status: status('ready'), today: before })).tooltip).not.toContain('per joule');
  });

  it('compare it with asking always, where that was measured, and label an estimate', () => {
    const compared = presentWith(snapshot({ status: status('ready'), energy }), suggestions, null);
    const sentence = t('figures.charactersPerJouleCompared', { rate: '4.00', always: '1.25', source: t('source.estimate') });
    expect(compared.label).toContain(sentence);
    expect(compared.tooltip).toContain(escapeMarkdown(sentence));
    expect(shown.label).toContain(t('figures.charactersPerJoule', { rate: '4.00' }));
  });

  it('show the result of checks at full depth, and its effect', () => {
    const agreement = { checks: 20, agreed: 11, calibrated: 0.8, raised_to: 0.9 };
    const state = { status: status('ready'), energy: { ...energy, agreement, on_battery: true } };
    const checked = present(snapshot({ ...state, settings: { ...defaults, decoding: 'fast' } })).tooltip;
    expect(checked).toContain(`${escapeMarkdown(t('status.checked', { agreed: '11', count: '20', share: '55%' }))} Expected: 80%\\.`);
    expect(checked).toContain('no threshold below 0\\.90 is used');
    expect(checked).toContain('on battery');
    expect(shown.tooltip).not.toContain('11 of 20');
    expect(shown.tooltip).not.toContain('battery');
  });

  it('escape markup in messages', () => {
    const hostile = present(snapshot({ status: status('error', '[x](command:workbench.action.quit) | <b>') }));
    expect(hostile.tooltip).not.toContain('[x](command:');
    expect(escapeMarkdown('a\n*b*')).toBe('a \\*b\\*');
    expect(escapeMarkdown('5\u00a0%')).toBe('5\u00a0%');
  });

  it('escape markup in settings', () => {
    const hostile = { ...defaults, model: '[x](command:y)' };
    expect(present(snapshot({ settings: hostile })).tooltip).not.toContain('[x](command:y)');
  });
});

describe('the status item', () => {
  afterEach(() => {
    vi.restoreAllMocks();
    workspace.textDocuments.length = 0;
  });

  it.each<[string, Partial<Snapshot>, string]>([
    ['Set Up', { phase: 'setUp' }, COMMANDS.setUp],
    ['Choose Model', { phase: 'running', status: { ...status('error'), reason: 'model_missing' } }, COMMANDS.chooseModel],
    ['the menu', { phase: 'running', status: status('ready') }, COMMANDS.menu],
  ])('leads to what is missing: %s', async (_, change, command) => {
    const item = { ...window.createStatusBarItem(), command: '' };
    vi.spyOn(window, 'createStatusBarItem').mockReturnValue(item);
    const store = new Store(defaults);
    store.update(change);
    const drawn = new StatusItem(store, () => Promise.resolve(UNCALIBRATED));
    await vi.waitFor(() => expect(item.command).toBe(command));
    drawn.dispose();
  });

  it.each([
    ['a document of a chosen language, switched off', 'python', false, true],
    ['no such document, switched off', 'dart', false, false],
    ['a front that is about to start', 'python', true, false],
  ])('is visible before a front has started only where suggestions are off, with %s', async (_, languageId, enabled, isShown) => {
    workspace.textDocuments.push({ uri: { scheme: 'file' }, languageId });
    const item = { ...window.createStatusBarItem(), show: vi.fn() };
    vi.spyOn(window, 'createStatusBarItem').mockReturnValue(item);
    const drawn = new StatusItem(new Store({ ...defaults, enabled }), () => Promise.resolve(UNCALIBRATED));
    await vi.waitFor(() => expect(item.text).not.toBe(''));
    drawn.dispose();
    expect(item.show).toHaveBeenCalledTimes(isShown ? 1 : 0);
  });
});
