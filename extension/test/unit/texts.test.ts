import { describe, expect, it } from 'vitest';

import { renderLayers } from '../../src/commands/layers';
import { t } from '../../src/l10n';
import type { LastCompletion, Report } from '../../src/protocol';
import { renderReport } from '../../src/report/html';
import { carbon, joules, mean, percent, threshold, wattHours, whole } from '../../src/state/format';
import { page } from '../../src/threshold/page';
import { suggestions, totals } from './samples';

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

  it('draws a bar per token', () => {
    expect(renderLayers(last)).toBe(
      '3.0 of 4 layers per token on average; Fast mode, threshold 0.80.\n' +
        '500 mJ used, 25% less than the whole model (estimated from CPU time).\n\n' +
        '2/4  ██░░  return\n4/4  ████  ·a↵\n',
    );
    expect(renderLayers({ ...last, saving: -0.05 })).toContain('500 mJ used, 5% more than the whole model (estimated from CPU time).');
    expect(renderLayers(null)).toContain(t('layers.noCompletionYet'));
  });

  it('says in exact mode who drafted each token, and in how many passes', () => {
    const tokens = [...last.tokens, { text: '(', layers: 4, draft: 'prompt_lookup' }, { text: ')', layers: 4, draft: 'ngrams' }, { text: 'x', layers: 4, draft: 'prompt_lookup' }] as const;
    const lines = renderLayers({ ...last, tokens, decoding: 'exact' }).split('\n');
    expect(lines.slice(0, 3)).toEqual([
      '5 tokens in 2 passes through the whole model.',
      '4 drafted beforehand: 2 from this file (prompt lookup), 1 from common code (n-gram table), 1 by a part of the model (early exit).',
      'All 4 layers checked every token, so the text is what the whole model writes.',
    ]);
    expect(lines.slice(5)).toEqual(['layer 2      return', 'whole model  ·a↵', 'this file    (', 'common code  )', 'this file    x', '']);
  });

  it('says so where no token was drafted', () => {
    const lines = renderLayers({ ...last, tokens: last.tokens.slice(1), passes: 1, decoding: 'exact' }).split('\n');
    expect(lines.slice(0, 2)).toEqual(['1 token in 1 pass through the whole model.', t('layers.noneDrafted')]);
  });
});

describe('the energy report', () => {
  const report: Report = {
    today: totals,
    all: { ...totals, completions: 99, source: 'estimate' },
    idle_joules: 0,
    by_day: [
      { ...totals, day: '2026-01-02' },
      { ...totals, energy_joules: 48, shown: 0, accepted: 0, accepted_characters: 0, day: '2026-01-03' },
    ],
    by_language: [
      { ...totals, language: '<script>' },
      { ...totals, language: 'java' },
    ],
    by_model: [{ ...totals, model: 'gemma' }],
  };
  const options = { style: 'style.css', script: 'report.js', nonce: 'n1', cspSource: 'csp', gridIntensity: 500, suggestions: null };
  const html = renderReport(report, options);
  const none = { ...totals, completions: 0, shown: 0, energy_joules: 0, energy_full_joules: 0, saved_joules: 0, source: null };
  /** The texts of a tile: its name, the figure, and what is below. */
  const tile = (page: string, id: string) => [...new RegExp(`id="${id}">(.*?)</div>`).exec(page)![1]!.matchAll(/<d[td][^>]*>(.*?)<\/d[td]>/g)].map((match) => match[1]);

  it('begins with the figures of today, with those of all time and of always suggesting below', () => {
    const page = renderReport(report, { ...options, suggestions });
    expect(tile(page, 'less-energy')).toEqual(['Less energy', '34%', '12.4 J of 36.4 J saved', 'All time: ≈\u00a034%']);
    expect(tile(page, 'acceptance')).toEqual(['Suggestions accepted', '30%', '3 of 10, 2 kept', 'All time: 30%']);
    expect(tile(page, 'characters')).toEqual(['Characters accepted', '96', 'of 400 shown', 'All time: 96']);
    expect(tile(page, 'energy-per-character')).toEqual(['Energy per accepted character', '250 mJ', '24.0 J used', 'All time: 250 mJ', 'Always suggesting: 800 mJ on test code']);
    expect(page).toContain('estimated from CPU time');
  });

  it('says what a GPU used while the model waited, where it used anything', () => {
    const text = 'While the model waited, the GPU used 5.00 J, which is in the energy used.';
    expect(renderReport({ ...report, idle_joules: 5 }, options)).toContain(text);
    expect(html).not.toContain('model waited');
  });

  it('begins with all time where today has nothing, and repeats no figure where all time is today', () => {
    const idle = renderReport({ ...report, today: none }, options);
    expect(idle).toContain(t('report.nothingToday'));
    expect(tile(idle, 'characters')).toEqual(['Characters accepted', '96', 'of 400 shown']);
    expect(renderReport({ ...report, all: totals }, options)).not.toContain('All time');
  });

  it('converts joules with 3.6 MJ per kilowatt-hour and the current grid intensity', () => {
    const large = renderReport({ ...report, all: { ...totals, energy_joules: 7.2e6, saved_joules: -3.6e6 } }, options);
    expect(large).toContain('2.00 kWh used (1.00 kg CO₂e), \u22121.00 kWh saved (\u2212500 g CO₂e), at 500 g per kWh');
  });

  it('has breakdowns with several rows, the latest day first, also where nothing was accepted', () => {
    const rows = [...html.matchAll(/<tr>(.*?)<\/tr>/g)].map((match) => [...match[1]!.matchAll(/<t[hd][^>]*>(.*?)<\/t[hd]>/g)].map((cell) => cell[1]!.replace(/<[^>]*>/g, '')));
    expect(rows.slice(0, 3)).toEqual([
      ['Day (UTC)', 'Less energy', 'Energy used', 'Suggestions accepted', 'Kept', 'Characters accepted', 'Energy per character'],
      ['2026-01-03', '12.4 J 34%', '48.0 J', '0 of 0 –', '2', '0', '–'],
      ['2026-01-02', '12.4 J 34%', '24.0 J', '3 of 10 30%', '2', '96', '250 mJ'],
    ]);
    expect(html).toContain(`<h2>${t('report.byLanguage')}</h2>`);
    expect(html).not.toContain(t('report.byModel')); // one row would repeat the totals
    const single = renderReport({ ...report, by_day: report.by_day.slice(0, 1), by_language: report.by_language.slice(0, 1) }, options);
    expect(single).not.toMatch(/<table|<canvas/);
  });

  it('gives the charts the figures of the tables', () => {
    const data = [...html.matchAll(/data-chart="([^"]*)"/g)].map((match) => JSON.parse(match[1]!.replaceAll('&quot;', '"')) as { labels: string[]; series: { values: number[] }[] });
    expect(data.map(({ labels }) => labels)).toEqual([['Jan 2', 'Jan 3'], ['Jan 2', 'Jan 3']]);
    expect(data[0]!.series.map(({ values }) => values)).toEqual([[totals.energy_joules, 48], [totals.saved_joules, totals.saved_joules]]);
    expect(data[1]!.series.map(({ values }) => values)).toEqual([[totals.shown, 0], [totals.accepted, 0], [totals.retained, totals.retained]]);
  });

  it('says what to do before the first completion', () => {
    const empty = renderReport({ today: none, all: none, idle_joules: 0, by_day: [], by_language: [], by_model: [] }, options);
    expect(empty).toContain(t('report.emptyHint'));
    expect(empty).not.toMatch(/<canvas|<table|<dl/);
    expect(empty).toContain('id="refresh"');
  });

  it('escapes names', () => {
    expect(html).toContain('&lt;script&gt;');
    expect(html.match(/<script/g)).toEqual(['<script']);
  });
});

describe('pages', () => {
  it('allow only their own script and style', () => {
    const html = page({ nonce: 'n1', cspSource: 'csp', script: 's.js', styles: ['s.css'] });
    expect(html).toContain(`content="default-src 'none'; style-src csp; script-src 'nonce-n1'"`);
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html).toContain('<link rel="stylesheet" href="s.css">');
    expect(html).toContain('<label for="suggestions">');
    expect(html).toMatch(/<div id="exit" hidden>[^]*<label for="threshold">/); // until the mode is known
    expect(html).toContain('type="range" min="0" max="2" step="1"');
    expect(html).toContain('type="range" min="0.5" max="1" step="0.01"');
  });
});
