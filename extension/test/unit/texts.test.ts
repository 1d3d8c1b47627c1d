import { describe, expect, it } from 'vitest';

import { renderLayers } from '../../src/commands/layers';
import type { LastCompletion, Report } from '../../src/protocol';
import { renderReport } from '../../src/report/html';
import { joules, mean, percent, plural } from '../../src/state/format';
import { entries } from '../../src/status/menu';
import { page } from '../../src/threshold/page';
import { defaults, totals } from './samples';

describe('figures', () => {
  it.each([
    [0, '0 J'],
    [0.0123, '12.3 mJ'],
    [1, '1.00 J'],
    [12.34, '12.3 J'],
    [123.4, '123 J'],
    [4321, '4.32 kJ'],
    [-0.5, '\u2212500 mJ'],
  ])('%d J', (value, text) => expect(joules(value)).toBe(text));

  it('percent, mean and plural', () => {
    expect([0.342, 0, -0.001, -0.05].map(percent)).toEqual(['34%', '0%', '0%', '\u22125%']);
    expect([mean([]), mean([1, 2])]).toEqual([null, 1.5]);
    expect([plural(1, 'day'), plural(2, 'day')]).toEqual(['1 day', '2 days']);
  });
});

describe('Show Layers', () => {
  it('draws a bar per token', () => {
    const last: LastCompletion = {
      text: 'return a',
      tokens: [
        { text: 'return', layers: 2 },
        { text: ' a\n', layers: 4 },
      ],
      layers_total: 4,
      energy_joules: 0.5,
      energy_source: 'estimate',
      saving: 0.25,
      threshold: 0.8,
      decoding: 'fast',
    };
    expect(renderLayers(last)).toBe(
      '3.0 of 4 layers per token on average; threshold 0.8, fast decoding.\n' +
        '500 mJ used, 25% saved against full depth (estimated from processor time).\n\n' +
        '2/4  ██░░  return\n4/4  ████  ·a↵\n',
    );
    expect(renderLayers(null)).toContain('No completion yet.');
  });
});

describe('the energy report', () => {
  const report: Report = {
    today: totals,
    all: { ...totals, completions: 99 },
    by_day: [{ ...totals, day: '2026-01-02' }],
    by_language: [{ ...totals, language: '<script>' }],
    by_model: [{ ...totals, model: 'gemma' }],
    source: 'estimate',
  };
  const html = renderReport(report, { style: 'style.css', script: 'report.js', nonce: 'n1', cspSource: 'csp', gridIntensity: 500 });

  it('has totals, days and languages, and says where the figures come from', () => {
    expect(html).toContain('<strong>12.4 J</strong> saved today, 34%');
    expect(html).toContain('2026-01-02');
    expect(html).toContain('estimated from processor time');
  });

  it('converts joules by 3.6 MJ a kilowatt-hour and the grid intensity in force', () => {
    const large = renderReport(
      { ...report, all: { ...totals, energy_joules: 7.2e6, saved_joules: -3.6e6 } },
      { style: '', script: '', nonce: '', cspSource: '', gridIntensity: 500 },
    );
    expect(large).toContain('2 kWh used (1,000 g CO₂e) and \u22121 kWh not spent (\u2212500 g CO₂e), at 500 g per kWh');
  });

  it('gives the charts the figures of the tables', () => {
    const data = [...html.matchAll(/data-chart="([^"]*)"/g)].map((match) => JSON.parse(match[1]!.replaceAll('&quot;', '"')) as { labels: string[]; series: { values: number[] }[] });
    expect(data.map(({ labels }) => labels)).toEqual([['2026-01-02'], ['2026-01-02']]);
    expect(data[0]!.series.map(({ values }) => values)).toEqual([[totals.energy_joules], [totals.saved_joules]]);
    expect(data[1]!.series.map(({ values }) => values)).toEqual([[totals.shown], [totals.accepted], [totals.kept]]);
  });

  it('is quiet where there is nothing yet', () => {
    const none = { ...totals, completions: 0, energy_joules: 0, saved_joules: 0 };
    const empty = renderReport({ today: none, all: none, by_day: [], by_language: [], by_model: [], source: null }, { style: '', script: '', nonce: '', cspSource: '', gridIntensity: 500 });
    expect(empty).toContain('No completion today yet.');
    expect(empty).not.toContain('<canvas');
  });

  it('takes names for text', () => {
    expect(html).toContain('&lt;script&gt;');
    expect(html.match(/<script/g)).toEqual(['<script']);
  });
});

describe('pages', () => {
  it('allow nothing but their own script and style', () => {
    const html = page({ nonce: 'n1', cspSource: 'csp', script: 's.js', style: 's.css' });
    expect(html).toContain(`content="default-src 'none'; style-src csp; script-src 'nonce-n1'"`);
    expect(html.match(/<script/g)).toHaveLength(1);
    expect(html).toContain('<label for="threshold">');
    expect(html).toContain('type="range" min="0.5" max="1" step="0.01"');
  });
});

describe('the menu', () => {
  it('offers to turn on what is off', () => {
    expect(entries(defaults).map(({ label }) => label)).toContain('$(circle-slash) Turn Off');
    expect(entries({ ...defaults, enabled: false }).map(({ label }) => label)).toContain('$(play) Turn On');
  });
});
