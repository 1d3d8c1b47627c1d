import { describe, expect, it } from 'vitest';

import { renderLayers } from '../../src/commands/layers';
import { t } from '../../src/l10n';
import type { LastCompletion, Report } from '../../src/protocol';
import { renderReport } from '../../src/report/html';
import { carbon, joules, mean, percent, threshold, wattHours, whole } from '../../src/state/format';
import { entries } from '../../src/status/menu';
import { page } from '../../src/threshold/page';
import { defaults, suggestions, totals } from './samples';

describe('figures', () => {
  it.each([
    [0, '0 J'],
    [0.0123, '12.3 mJ'],
    [1, '1.00 J'],
    [12.34, '12.3 J'],
    [123.4, '123 J'],
    [999.7, '1.00 kJ'],
    [4321, '4.32 kJ'],
    [-0.5, '\u2212500 mJ'],
  ])('%d J', (value, text) => expect(joules(value)).toBe(text));

  it.each([
    [0, '0 Wh'],
    [0.0016812, '0.467 µWh'],
    [1.6812, '467 µWh'],
    [36, '10.0 mWh'],
    [-7200, '\u22122.00 Wh'],
    [7.2e6, '2.00 kWh'],
    [3.6e9, '1.00 MWh'],
  ])('%d J in watt-hours', (value, text) => expect(wattHours(value)).toBe(text));

  it.each([
    [0, '0 g'],
    [0.13, '18.1 µg'],
    [130, '18.1 mg'],
    [36000, '5.00 g'],
    [-7.2e6, '\u22121.00 kg'],
    [3.6e10, '5,000 kg'],
  ])('%d J as carbon at 500 g per kWh', (value, text) => expect(carbon(value, 500)).toBe(text));

  it('counts, thresholds, percent and mean', () => {
    expect([whole(1234), threshold(0.9), threshold(1)]).toEqual(['1,234', '0.90', '1.00']);
    expect([0.342, 0, -0.001, -0.05].map(percent)).toEqual(['34%', '0%', '0%', '\u22125%']);
    expect([mean([]), mean([1, 2])]).toEqual([null, 1.5]);
  });
});

describe('Show Layers', () => {
  it('draws a bar per token', () => {
    const last: LastCompletion = {
      text: 'return a',
      tokens: [
        { text: 'return', layers: 2, draft: 'exit' },
        { text: ' a\n', layers: 4, draft: '' },
      ],
      passes: 2,
      layers_total: 4,
      energy_joules: 0.5,
      energy_source: 'estimate',
      saving: 0.25,
      threshold: 0.8,
      decoding: 'fast',
    };
    expect(renderLayers(last)).toBe(
      '3.0 of 4 layers per token on average; threshold 0.80, fast mode.\n' +
        '500 mJ used, 25% less than the full model (estimated from CPU time).\n\n' +
        '2/4  ██░░  return\n4/4  ████  ·a↵\n',
    );
    expect(renderLayers(null)).toContain(t('layers.noCompletionYet'));
  });
});

describe('the energy report', () => {
  const report: Report = {
    today: totals,
    all: { ...totals, completions: 99, source: 'estimate' },
    by_day: [{ ...totals, day: '2026-01-02' }],
    by_language: [{ ...totals, language: '<script>' }],
    by_model: [{ ...totals, model: 'gemma' }],
  };
  const html = renderReport(report, { style: 'style.css', script: 'report.js', nonce: 'n1', cspSource: 'csp', gridIntensity: 500, suggestions: null });

  it('has totals, days and languages, and the source of the figures', () => {
    expect(html).toContain(t('report.savedToday', { saved: '<strong>12.4 J</strong>', count: '12', share: '34%' }));
    const once = { ...report, today: { ...totals, completions: 1 } };
    expect(renderReport(once, { style: '', script: '', nonce: '', cspSource: '', gridIntensity: 500, suggestions: null })).toContain('over 1 suggestion:');
    expect(html).toContain('2026-01-02');
    expect(html).toContain('estimated from CPU time');
  });

  it('converts joules with 3.6 MJ per kilowatt-hour and the current grid intensity', () => {
    const large = renderReport(
      { ...report, all: { ...totals, energy_joules: 7.2e6, saved_joules: -3.6e6 } },
      { style: '', script: '', nonce: '', cspSource: '', gridIntensity: 500, suggestions: null },
    );
    expect(large).toContain('2.00 kWh used (1.00 kg CO₂e), \u22121.00 kWh saved (\u2212500 g CO₂e), at 500 g per kWh');
  });

  it('says what the joules brought, also where nothing was accepted', () => {
    const options = { style: '', script: '', nonce: '', cspSource: '', gridIntensity: 500, suggestions };
    const mixed = renderReport({ ...report, all: { ...totals, accepted_characters: 0 } }, options);
    expect(mixed).toContain(t('figures.charactersPerJouleCompared', { rate: '4.00', always: '1.25', source: t('source.estimate') }));
    const cells = [...mixed.matchAll(/<tr>(.*?)<\/tr>/g)].map((row) => [...row[1]!.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/g)].map((cell) => cell[1]));
    const column = (name: string) => cells[0]!.indexOf(name);
    expect([column('Characters accepted'), column('Energy per accepted character')]).not.toContain(-1);
    const [today, all] = cells.slice(1).map((row) => [row[column('Characters accepted')], row[column('Energy per accepted character')]]);
    expect([today, all]).toEqual([['96', '250 mJ'], ['0', '–']]);
  });

  it('gives the charts the figures of the tables', () => {
    const data = [...html.matchAll(/data-chart="([^"]*)"/g)].map((match) => JSON.parse(match[1]!.replaceAll('&quot;', '"')) as { labels: string[]; series: { values: number[] }[] });
    expect(data.map(({ labels }) => labels)).toEqual([['2026-01-02'], ['2026-01-02']]);
    expect(data[0]!.series.map(({ values }) => values)).toEqual([[totals.energy_joules], [totals.saved_joules]]);
    expect(data[1]!.series.map(({ values }) => values)).toEqual([[totals.shown], [totals.accepted], [totals.retained]]);
  });

  it('has no charts before the first completion', () => {
    const none = { ...totals, completions: 0, energy_joules: 0, saved_joules: 0, source: null };
    const empty = renderReport({ today: none, all: none, by_day: [], by_language: [], by_model: [] }, { style: '', script: '', nonce: '', cspSource: '', gridIntensity: 500, suggestions: null });
    expect(empty).toContain(t('report.nothingToday'));
    expect(empty).not.toContain('<canvas');
  });

  it('escapes names', () => {
    expect(html).toContain('&lt;script&gt;');
    expect(html.match(/<script/g)).toEqual(['<script']);
  });
});

describe('pages', () => {
  it('allow only their own script and style', () => {
    const html = page({ nonce: 'n1', cspSource: 'csp', script: 's.js', style: 's.css' });
    expect(html).toContain(`content="default-src 'none'; style-src csp; script-src 'nonce-n1'"`);
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html).toContain('<label for="suggestions">');
    expect(html).toMatch(/<details id="advanced">[^]*<label for="threshold">[^]*<\/details>/); // closed
    expect(html).toContain('<p id="no-effect" role="status" hidden>'); // a status region: it appears without a user action
    expect(html).toContain('type="range" min="0" max="2" step="1"');
    expect(html).toContain('type="range" min="0.5" max="1" step="0.01"');
  });
});

describe('the menu', () => {
  it('shows the stop', () => {
    expect(entries({ ...defaults, suggestions: 'sure' })[0]).toMatchObject({ label: `$(settings) ${t('menu.setThreshold')}`, description: 'Sure' });
  });

  it('turns suggestions on or off', () => {
    expect(entries(defaults).map(({ label }) => label)).toContain(`$(circle-slash) ${t('menu.turnOff')}`);
    expect(entries({ ...defaults, enabled: false }).map(({ label }) => label)).toContain(`$(play) ${t('menu.turnOn')}`);
  });
});
