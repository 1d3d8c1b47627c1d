import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { beforeEach, describe, expect, it, vi } from 'vitest';
import type { Uri, WebviewView } from 'vscode';

import { COMMANDS } from '../../src/ids';
import { t } from '../../src/l10n';
import type { Decoding } from '../../src/protocol';
import { writeSetting } from '../../src/settings';
import { Store } from '../../src/state/store';
import { choices, stopChoices } from '../../src/threshold/quickPick';
import { parseCalibration, pointAt, readCalibration, UNCALIBRATED } from '../../src/threshold/calibration';
import { parseThreshold, roundThreshold } from '../../src/threshold/value';
import { scaleMessage, stateMessage } from '../../src/threshold/messages';
import { STOPS } from '../../src/threshold/stops';
import { ThresholdView } from '../../src/threshold/view';
import { defaults, energy, snapshot, suggestions, suggestionsJson, totals } from './samples';
import { commands, configuration, ConfigurationTarget } from './vscode';

describe('parseThreshold', () => {
  it.each([
    ['0.85', 0.85],
    [' .9 ', 0.9],
    ['0,75', 0.75],
    ['85%', 0.85],
    ['85 %', 0.85],
    ['1', 1],
    ['0.5', 0.5],
    ['0.847', 0.85],
  ])('accepts %j', (text, value) => expect(parseThreshold(text)).toEqual({ value }));

  it.each(['', 'abc', '0.8x', '-0.8', '1e0', '0.8 0.9'])('rejects %j, which is no number', (text) =>
    expect(parseThreshold(text)).toEqual({ error: 'A number between 0.5 and 1, such as 0.85.' }));

  it.each(['0.49', '1.01', '0', '85'])('rejects %j, which is out of range', (text) =>
    expect(parseThreshold(text)).toEqual({ error: `${text} is outside the range from 0.5 to 1.` }));

  it('rounds to the step of the slider, inside the range', () => {
    expect([0.8500000000000001, 0.2, 3].map(roundThreshold)).toEqual([0.85, 0.5, 1]);
  });
});

describe('presets', () => {
  const preset = (threshold: unknown, allowed_loss = 0.05) => ({ threshold, allowed_loss, confidence: 0.95, saving: 0.3 });
  const json = JSON.stringify({
    presets: { saver: preset(0.6), quality: preset(0.95, 0.01), balanced: preset('x') },
    reference: { full: { edit_similarity: 50 } },
    curve: [
      { threshold: 1, saving: 0.04, edit_similarity: 50 },
      { threshold: 0.9, saving: 0.1, edit_similarity: 49 },
      { threshold: 0.6, saving: 0.3, edit_similarity: 45 },
      { threshold: 2, saving: 0.3, edit_similarity: 45 },
      { threshold: 0.7, saving: null, edit_similarity: 45 },
    ],
  });

  it('are ordered, and only those with a valid number are used', () => {
    expect(parseCalibration(json).presets).toEqual([
      { name: 'quality', threshold: 0.95, allowedLoss: 0.01, confidence: 0.95, saving: 0.3 },
      { name: 'saver', threshold: 0.6, allowedLoss: 0.05, confidence: 0.95, saving: 0.3 },
    ]);
  });

  it('exclude full depth, and what has no confidence', () => {
    expect(parseCalibration(JSON.stringify({ presets: { quality: preset(1) } })).presets).toEqual([]);
    expect(parseCalibration(JSON.stringify({ presets: { saver: { ...preset(0.6), confidence: undefined } } })).presets).toEqual([]);
  });

  it('come with the measured curve, by threshold, full depth last', () => {
    expect(parseCalibration(json).curve).toEqual([
      { threshold: 0.6, saving: 0.3, quality: 0.9 },
      { threshold: 0.9, saving: 0.1, quality: 0.98 },
      { threshold: 1, saving: 0.04, quality: 1 },
    ]);
    expect(parseCalibration('{}')).toEqual(UNCALIBRATED);
  });

  it.each([
    [0.5, 0.3, 0.9],
    [0.6, 0.3, 0.9],
    [0.75, 0.2, 0.94],
    [0.95, 0.07, 0.99],
    [1, 0.04, 1],
  ])('have a point at every threshold: %d', (threshold, saving, quality) => {
    const point = pointAt(parseCalibration(json).curve, threshold)!;
    expect(point.saving).toBeCloseTo(saving);
    expect(point.quality).toBeCloseTo(quality);
    expect(pointAt([], threshold)).toBeNull();
  });

  it('are buttons, and each step of the slider has the expected result', () => {
    const { presets, steps } = scaleMessage(parseCalibration(json));
    expect(presets).toEqual([
      { threshold: 0.95, title: t('threshold.quality'), text: '0.95' },
      { threshold: 0.6, title: 'Saver', text: '0.60' },
    ]);
    expect(steps).toHaveLength(51);
    const words = 'Expected: 30% less energy, 90% of the accuracy.';
    expect(steps[10]).toEqual({ text: '0.60', mark: { x: 0.6, y: [0.9, 0.3] }, words, label: `0.60. ${words}` });
    expect(steps.at(-1)?.label).toMatch(/^1\.00: never stops early\. Expected: /);
    expect(scaleMessage(UNCALIBRATED).steps[10]).toEqual({ text: '0.60', mark: null, words: '', label: '0.60.' });
  });

  it('are read from the bundle of the model, never from outside the folder', async () => {
    const bundles = await fs.mkdtemp(path.join(os.tmpdir(), 'green-code-test-'));
    await fs.mkdir(path.join(bundles, 'small'));
    await fs.writeFile(path.join(bundles, 'small', 'calibration.json'), json);
    expect((await readCalibration(bundles, 'small')).presets).toHaveLength(2);
    expect(await readCalibration(bundles, 'other')).toEqual(UNCALIBRATED);
    expect(await readCalibration(path.join(bundles, 'small'), '..')).toEqual(UNCALIBRATED);
    await fs.rm(bundles, { recursive: true });
  });

  it('are offered with the current value marked', () => {
    const all = choices(parseCalibration(json), 0.6);
    const rows = all.map(({ label, description }) => `${label} ${description ?? ''}`.trim());
    expect(rows).toEqual([`${t('common.fullDepth')} 1.00`, `${t('threshold.quality')} 0.95`, '$(check) Saver 0.60', '$(edit) Enter a number…']);
    expect(all[1]?.detail).toBe(t('threshold.presetDetail', { loss: '1%', confidence: '95%', saving: '30%' }));
    expect(choices(UNCALIBRATED, 0.77).map(({ label }) => label)).toEqual([t('common.fullDepth'), '$(check) Current', '$(edit) Enter a number…']);
  });
});

describe('the stops', () => {
  const parse = (json: unknown) => parseCalibration(JSON.stringify({ suggestions: json })).suggestions;
  const without = (object: object, key: string) => Object.fromEntries(Object.entries(object).filter(([name]) => name !== key));

  it('come from the calibration: the curve by stop, each named stop, and asking always', () => {
    expect(parse(suggestionsJson)).toEqual({
      files: 60,
      characters: 15000,
      source: 'estimate',
      always: { accepted: 0.23, right: 0.13, joules: 0.8, rejected: 10.5 },
      curve: [
        { stop: 0.1, accepted: 0.34, right: 0.22, joules: 0.4, rejected: 9.1 },
        { stop: 0.4, accepted: 0.44, right: 0.49, joules: 0.2, rejected: 4.2 },
        { stop: 0.6, accepted: 0.42, right: 0.63, joules: 0.16, rejected: 2.5 },
      ],
      stops: {
        eager: { stop: 0.2, accepted: 0.41, right: 0.33, joules: 0.32, rejected: 6.8 },
        balanced: { stop: 0.4, accepted: 0.44, right: 0.49, joules: 0.2, rejected: 4.2 },
        sure: { stop: 0.6, accepted: 0.42, right: 0.63, joules: 0.16, rejected: 2.5 },
      },
    });
  });

  it('have no figures without the reference or asking always', () => {
    expect(parse(undefined)).toBeNull();
    ['reference', 'always'].forEach((key) => expect(parse(without(suggestionsJson, key)), key).toBeNull());
    expect(parse({ ...suggestionsJson, always: { ...suggestionsJson.always, joules_per_character: 0 } })).toBeNull();
  });

  it('have none where one of a stop is missing, and the others keep theirs', () => {
    const { presets, curve } = suggestionsJson;
    const partial = parse({ ...suggestionsJson, presets: { ...presets, sure: without(presets.sure, 'right') }, curve: [curve[0], { stop: 0.5 }] })!;
    expect(Object.keys(partial.stops)).toEqual(['eager', 'balanced']);
    expect(partial.curve).toHaveLength(1);
    const [, balanced, sure] = scaleMessage({ ...UNCALIBRATED, suggestions: partial }).stops;
    expect(balanced!.figures).toEqual(['44%', '49%', '200 mJ', '4.2']);
    expect(sure).toMatchObject({ marks: null, figures: ['–', '–', '–', '–'], comparison: '', label: `Sure. ${t('threshold.sureDetail')}` });
  });

  it('are the steps of the slider, each with what was measured', () => {
    const { stops, measured } = scaleMessage({ ...UNCALIBRATED, suggestions });
    expect(stops.map(({ value, title }) => [value, title])).toEqual([['eager', 'Eager'], ['balanced', 'Balanced'], ['sure', 'Sure']]);
    expect(stops.map(({ comparison }) => comparison)).toEqual(
      ['2.5', '4.0', '5.0'].map((times) => t('threshold.timesLess', { times })),
    );
    expect(stops[1]!.label).toBe(
      `Balanced. ${t('threshold.balancedDetail')} 44% of the characters accepted, 49% of the suggestions right, ` +
        '200 mJ per accepted character, 4.2 rejected per 100 characters. 4.0 times less energy per accepted character than always suggesting.',
    );
    expect(measured).toMatchObject({
      names: ['Characters accepted', 'Suggestions right', 'Energy per accepted character', 'Rejected per 100 characters'],
      alwaysFigures: ['23%', '13%', '800 mJ', '10.5'],
      basis: t('threshold.measuredBy', { files: '60', characters: '15,000', source: t('source.estimate') }),
    });
  });

  it('have charts over how sure the model must be, whose axes begin at nothing and end above all figures', () => {
    const { shares, costs } = scaleMessage({ ...UNCALIBRATED, suggestions }).measured!.charts!;
    const texts = ({ ticks }: typeof shares.x) => ticks.map(({ text }) => text).join(' ');
    expect([shares.x.least, shares.x.most, texts(shares.x)]).toEqual([0.1, 0.6, '20 40 60']); // percent
    expect([shares.y.least, texts(shares.y)]).toEqual([0, '0 20 40 60 80']);
    expect([costs.y.least, texts(costs.y)]).toEqual([0, '0 200 400 600 800']); // millijoules
    expect(shares.lines.map(({ series, level }) => [series, level])).toEqual([['accepted', 0.23], ['right', 0.13]]);
    expect(costs.lines.map(({ points, level }) => [points.map(({ y }) => y), level])).toEqual([[[0.4, 0.2, 0.16], 0.8]]);
    const single = { ...suggestions!, curve: suggestions!.curve.slice(0, 1) };
    expect(scaleMessage({ ...UNCALIBRATED, suggestions: single }).measured!.charts).toBeNull();
  });

  it('promise nothing without a calibration', () => {
    const { stops, measured } = scaleMessage(UNCALIBRATED);
    expect(measured).toBeNull();
    expect(stops.map(({ label }) => label).filter((label) => /\d/.test(label))).toEqual([]);
    stopChoices(UNCALIBRATED, defaults).slice(0, 3).forEach(({ description, detail }) => expect(`${description ?? ''}${detail ?? ''}`).not.toMatch(/\d/));
  });

  it('say so where a stop costs more than asking always', () => {
    const eager = { ...suggestionsJson.presets.eager, joules_per_character: 1.6 };
    const worse = parse({ ...suggestionsJson, presets: { eager } });
    expect(scaleMessage({ ...UNCALIBRATED, suggestions: worse }).stops[0]!.comparison).toBe(t('threshold.timesMore', { times: '2.0' }));
  });

  const offered = (decoding: Decoding) =>
    stopChoices({ ...UNCALIBRATED, suggestions, curve: [{ threshold: 0.6, saving: 0.3, quality: 0.9 }, { threshold: 1, saving: 0, quality: 1 }] }, { ...defaults, threshold: 0.8, suggestions: 'sure', decoding });

  it('are offered first in the quick pick, the current one marked, with what was measured', () => {
    const all = offered('exact').slice(0, 3);
    expect(all.map(({ stop }) => stop)).toEqual(STOPS);
    expect(all.map(({ label }) => label)).toEqual(['Eager', 'Balanced', '$(check) Sure']);
    expect(all[1]).toMatchObject({
      description: t('threshold.timesLess', { times: '4.0' }),
      detail: '44% of the characters accepted, 49% of the suggestions right, 200 mJ per accepted character, 4.2 rejected per 100 characters.',
    });
  });

  it('come before the other mode, and the exit threshold is offered only in the mode that uses it', () => {
    const rest = (decoding: Decoding) => offered(decoding).slice(3);
    expect(rest('exact')).toEqual([{ mode: 'fast', label: '$(arrow-swap) Switch to Fast Mode', detail: 'Expected in Fast mode: 15% less energy, 95% of the accuracy.' }]);
    expect(rest('full').map(({ mode }) => mode)).toEqual(['exact']); // as in the menu
    const [mode, threshold] = rest('fast');
    expect(mode).toMatchObject({ mode: 'exact', detail: t('mode.exactDetail') });
    expect(threshold).toEqual({ label: `$(settings) ${t('threshold.exitThresholdChoice')}`, description: '0.80' });
  });
});

describe('writing the setting', () => {
  beforeEach(() => configuration.reset());

  it('uses the user settings', async () => {
    await writeSetting('threshold', 0.9);
    expect(configuration.updates).toEqual([{ key: 'threshold', value: 0.9, target: ConfigurationTarget.Global }]);
  });

  it('uses the workspace where the workspace has a value', async () => {
    configuration.workspace.set('threshold', 0.8);
    await writeSetting('threshold', 0.9);
    expect(configuration.updates).toEqual([{ key: 'threshold', value: 0.9, target: ConfigurationTarget.Workspace }]);
  });
});

/** The view with a page, what it sent there, and how to receive from it. */
function open() {
  const store = new Store(defaults);
  const view = new ThresholdView('' as unknown as Uri, store, () => Promise.resolve(UNCALIBRATED));
  const posted: unknown[] = [];
  let receive: (message: unknown) => void = () => undefined;
  const webview = {
    asWebviewUri: String,
    postMessage: (message: unknown) => Promise.resolve(posted.push(message)),
    onDidReceiveMessage: (listener: typeof receive) => (receive = listener),
  };
  view.resolveWebviewView({ visible: true, webview, onDidChangeVisibility: () => undefined, onDidDispose: () => undefined } as unknown as WebviewView);
  return { posted, receive };
}

describe('a message of the page', () => {
  beforeEach(() => configuration.reset());

  it.each([
    [{ setting: 'suggestions', value: 'sure' }, 'sure'],
    [{ setting: 'threshold', value: 0.7000001 }, 0.7],
  ])('writes the setting, and the page is told: %j', async (moved, value) => {
    const { posted, receive } = open();
    receive({ type: 'write', ...moved });
    await vi.waitFor(() => expect(posted).toContainEqual({ type: 'written', ...moved }));
    expect(configuration.updates).toEqual([{ key: moved.setting, value, target: ConfigurationTarget.Global }]);
  });

  it.each([
    { setting: 'suggestions', value: 'greedy' },
    { setting: 'suggestions', value: 0.4 },
    { setting: 'threshold', value: 'sure' },
    { setting: 'pythonPath', value: '/tmp/x' },
  ])('writes nothing else: %j', async (moved) => {
    const { posted, receive } = open();
    receive({ type: 'write', ...moved });
    await vi.waitFor(() => expect(posted).toContainEqual({ type: 'written', ...moved }));
    expect(configuration.updates).toEqual([]);
  });
});

describe('a button of the page', () => {
  beforeEach(() => configuration.reset());

  it.each(['fast', 'exact', 'full'])('selects the mode: %s', async (value) => {
    open().receive({ type: 'mode', value });
    await vi.waitFor(() => expect(configuration.updates).toEqual([{ key: 'decoding', value, target: ConfigurationTarget.Global }]));
  });

  it('runs Show Layers, and nothing that is no mode is written', async () => {
    const run = vi.spyOn(commands, 'executeCommand');
    const { receive } = open();
    receive({ type: 'mode', value: 'fastest' });
    receive({ type: 'layers' });
    await vi.waitFor(() => expect(run.mock.calls).toEqual([[COMMANDS.showLayers]]));
    expect(configuration.updates).toEqual([]);
    run.mockRestore();
  });
});

describe('the view', () => {
  const fast = { ...defaults, decoding: 'fast' } as const;
  const curve = [{ threshold: 0.8, saving: 0.34, quality: 0.99 }, { threshold: 1, saving: 0, quality: 1 }];

  it('shows today', () => {
    const { today, todayNote } = stateMessage(snapshot({ energy }), []);
    expect(today.map(({ name, figure }) => `${name}: ${figure}`)).toEqual([
      'Less energy: 34% (12.4 J)',
      'Suggestions accepted: 30% (3 of 10)',
      'Characters accepted: 96',
      'Energy per accepted character: 250 mJ',
    ]);
    expect(todayNote).toContain(t('source.rapl'));
    const estimated = { ...energy, today: { ...totals, source: 'estimate' } };
    expect(stateMessage(snapshot({ energy: estimated }), []).today[0]!.figure).toBe('≈\u00a034% (12.4 J)');
  });

  it('draws the layers of the last completion in fast mode', () => {
    expect(stateMessage(snapshot({ energy, settings: fast }), [])).toMatchObject({
      decoding: 'fast',
      bars: [
        { share: 0.5, title: '9 of 18 layers' },
        { share: 1, title: '18 of 18 layers' },
        { share: 12 / 18, title: '12 of 18 layers' },
      ],
      barsLabel: t('threshold.layersPerToken', { each: '9, 18, 12' }),
      summary: t('threshold.averageLayers', { average: '13.0', total: '18' }),
      hasLast: true,
    });
  });

  it('says in the other modes that every layer checked each token', () => {
    expect(stateMessage(snapshot({ energy }), [])).toMatchObject({ bars: [], summary: '3 pieces of text (tokens), each checked by all 18 layers of the model.', hasLast: true });
    const one = snapshot({ energy: { ...energy, last_exits: [18] } });
    expect(stateMessage(one, []).summary).toBe('1 piece of text (token), checked by all 18 layers of the model.');
  });

  it('has what fast mode would give at the threshold that is set, or nothing without a calibration', () => {
    expect(stateMessage(snapshot({ settings: { ...defaults, threshold: 0.8 } }), curve)).toMatchObject({ decoding: 'exact', expected: 'Expected in Fast mode: 34% less energy, 99% of the accuracy.' });
    expect(stateMessage(snapshot(), []).expected).toBe('');
  });

  it('has texts for a window without completions', () => {
    expect(stateMessage(snapshot(), [])).toMatchObject({ bars: [], summary: t('threshold.noCompletionYet'), hasLast: false, today: [], todayNote: 'Nothing yet.' });
  });
});
