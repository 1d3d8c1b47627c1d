import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { beforeEach, describe, expect, it } from 'vitest';

import { writeSetting } from '../../src/settings';
import { choices } from '../../src/threshold/quickPick';
import { parseStops, readStops } from '../../src/threshold/stops';
import { parseThreshold, roundThreshold } from '../../src/threshold/value';
import { viewState } from '../../src/threshold/view';
import { defaults, energy, snapshot } from './samples';
import { configuration, ConfigurationTarget } from './vscode';

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
  ])('takes %j', (text, value) => expect(parseThreshold(text)).toEqual({ value }));

  it.each(['', 'abc', '0.8x', '-0.8', '1e0', '0.8 0.9'])('does not take %j for a number', (text) =>
    expect(parseThreshold(text)).toEqual({ error: 'A number between 0.5 and 1, such as 0.85.' }));

  it.each(['0.49', '1.01', '0', '85'])('refuses %j as out of range', (text) =>
    expect(parseThreshold(text)).toEqual({ error: `${text} is outside the range from 0.5 to 1.` }));

  it('rounds to the step of the slider, inside the range', () => {
    expect([0.8500000000000001, 0.2, 3].map(roundThreshold)).toEqual([0.85, 0.5, 1]);
  });
});

describe('named stops', () => {
  const json = JSON.stringify({ stops: { saver: { threshold: 0.6 }, quality: { threshold: 0.95 }, balanced: { threshold: 'x' } } });

  it('come in order, and only those with a usable number', () => {
    expect(parseStops(json)).toEqual([
      { name: 'quality', threshold: 0.95 },
      { name: 'saver', threshold: 0.6 },
    ]);
  });

  it('are read from the bundle of the model, never from outside the folder', async () => {
    const bundles = await fs.mkdtemp(path.join(os.tmpdir(), 'green-code-test-'));
    await fs.mkdir(path.join(bundles, 'small'));
    await fs.writeFile(path.join(bundles, 'small', 'calibration.json'), json);
    expect(await readStops(bundles, 'small')).toHaveLength(2);
    expect(await readStops(bundles, 'other')).toEqual([]);
    expect(await readStops(path.join(bundles, 'small'), '..')).toEqual([]);
    await fs.rm(bundles, { recursive: true });
  });

  it('are offered with the current value marked', () => {
    const rows = choices(parseStops(json), 0.6).map(({ label, description }) => `${label} ${description ?? ''}`.trim());
    expect(rows).toEqual(['Full depth 1.00', 'Quality 0.95', '$(check) Saver 0.60', '$(edit) Enter a number…']);
    expect(choices([], 0.77).map(({ label }) => label)).toEqual(['Full depth', '$(check) Current', '$(edit) Enter a number…']);
  });
});

describe('writing the setting', () => {
  beforeEach(() => configuration.reset());

  it('goes to the user settings', async () => {
    await writeSetting('threshold', 0.9);
    expect(configuration.updates).toEqual([{ key: 'threshold', value: 0.9, target: ConfigurationTarget.Global }]);
  });

  it('goes to the workspace where the workspace has a value', async () => {
    configuration.workspace.set('threshold', 0.7);
    await writeSetting('threshold', 0.9);
    expect(configuration.updates).toEqual([{ key: 'threshold', value: 0.9, target: ConfigurationTarget.Workspace }]);
  });
});

describe('the view', () => {
  it('shows the last completion and today', () => {
    expect(viewState(snapshot({ energy }), [])).toEqual({
      threshold: 0.9,
      unused: 'Decoding is exact: the threshold acts in fast decoding only.',
      stops: [],
      exits: [9, 18, 12],
      layersTotal: 18,
      summary: '13.0 of 18 layers per token on average',
      today: '12.4 J saved (34%) in 12 completions, measured on the CPU (RAPL).',
    });
  });

  it('says nothing of the decoding in which the threshold acts', () => {
    expect(viewState(snapshot({ settings: { ...defaults, decoding: 'fast' } }), []).unused).toBe('');
  });

  it('has something to say before there is anything', () => {
    expect(viewState(snapshot(), [])).toMatchObject({ exits: [], summary: 'No completion yet.', today: 'Nothing yet.' });
  });
});
