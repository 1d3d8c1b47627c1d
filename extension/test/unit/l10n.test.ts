import fs from 'node:fs';
import path from 'node:path';

import ts from 'typescript';
import { afterEach, describe, expect, it } from 'vitest';

import table from '../../l10n/texts.json';
import germanTexts from '../../../package.nls.de.json';
import englishTexts from '../../../package.nls.json';
import { renderLayers } from '../../src/commands/layers';
import { language, t } from '../../src/l10n';
import type { Report } from '../../src/protocol';
import { renderReport } from '../../src/report/html';
import { carbon, joules, percent, threshold, whole } from '../../src/state/format';
import { entries } from '../../src/status/menu';
import { present } from '../../src/status/presentation';
import type { Calibration } from '../../src/threshold/calibration';
import { page } from '../../src/threshold/page';
import { STOPS } from '../../src/threshold/stops';
import { choices, stopChoices } from '../../src/threshold/quickPick';
import { parseThreshold } from '../../src/threshold/value';
import { scaleMessage, stateMessage } from '../../src/threshold/messages';
import { defaults, energy, snapshot, suggestions, totals } from './samples';
import { nodesOf, ROOT, sources } from './sources';
import { env } from './vscode';

type Texts = Readonly<Record<string, string>>;

const WALKTHROUGH = path.join(ROOT, 'extension/media/walkthrough');
const placeholders = (text: string) => [...new Set(text.match(/\{\w+\}/g))].sort();
const rows = Object.entries(table as Readonly<Record<string, { en: string; de: string }>>);
const own = rows.filter(([id]) => !id.startsWith('manifest.'));

/** The first argument of each `t(…)`; null where it is no literal. */
function idsOf(nodes: readonly ts.Node[]): (string | null)[] {
  const calls = nodes.filter(ts.isCallExpression).filter(({ expression }) => ts.isIdentifier(expression) && expression.text === 't');
  return calls.map(({ arguments: [id] }) => (id && ts.isStringLiteralLike(id) ? id.text : null));
}

/** Every string in a value, however deep. */
function stringsIn(value: unknown): string[] {
  return typeof value === 'string' ? [value] : typeof value === 'object' && value !== null ? Object.values(value).flatMap(stringsIn) : [];
}

describe('the table of texts', () => {
  const used = sources.flatMap(({ nodes }) => idsOf(nodes));

  it('has what the sources use, and nothing else but the explanations of the front', () => {
    expect(used).not.toContain(null);
    expect(own.map(([id]) => id).filter((id) => !id.startsWith('why.') || used.includes(id)).sort()).toEqual([...new Set(used)].sort());
  });

  it('is sorted, with every text in both languages', () => {
    expect(rows.map(([id]) => id)).toEqual(rows.map(([id]) => id).sort());
    rows.forEach(([id, text]) => expect([text.en, text.de].every(Boolean), id).toBe(true));
  });

  it('keeps placeholders in translation', () => {
    rows.forEach(([id, { en, de }]) => expect(placeholders(de), id).toEqual(placeholders(en)));
  });

  it('contains no markup, because pages insert texts without escaping', () => {
    own.forEach(([id, { en, de }]) => expect(en + de, id).not.toMatch(/[<>&]/));
  });

  it('is in plain words where users look first', () => {
    const technical = /^(layers|threshold|report)\.|^manifest\.setting\.maxPromptTokens$/;
    const first = rows.filter(([id]) => !technical.test(id)).map(([id, { en, de }]) => [id, en + de] as const);
    const pages = fs.readdirSync(WALKTHROUGH).map((name) => [name, fs.readFileSync(path.join(WALKTHROUGH, name), 'utf8')] as const);
    const jargon = /held-out|full depth|\bcold\b|\btokens?\b|\bexits?\b|\bgate\b|decod|zurückgehalten|volle[rn]? Tiefe|Ausstieg|Vorfilter|dekod/i;
    const plain = (text: string) => text.replace(/greenCode\.\w+|\{\w+\}/g, '');
    expect([...first, ...pages].filter(([, text]) => jargon.test(plain(text))).map(([id]) => id)).toEqual([]);
  });

  it('calls our own process the engine, another host’s the server, and the secret of that an API key', () => {
    const others = /background process|hintergrundprozess|green code server|serving|access token|zugangstoken|secret key/i;
    rows.forEach(([id, { en, de }]) => expect(`${en} ${de}`, id).not.toMatch(others));
  });

  it('is short, except where it asks for consent or helps', () => {
    const long = /^(consent|hints|setUp)\./;
    const length = (text: string) => text.replace(/\(command:[\w.]+\)/g, '').length;
    expect(rows.filter(([id, { en, de }]) => !long.test(id) && Math.max(length(en), length(de)) > 160).map(([id]) => id)).toEqual([]);
  });

  it('is the source of the manifest’s texts', () => {
    const manifest = rows.filter(([id]) => id.startsWith('manifest.')).map(([id, text]) => [id.slice('manifest.'.length), text] as const);
    expect(englishTexts).toEqual(Object.fromEntries(manifest.map(([id, { en }]) => [id, en])));
    expect(germanTexts).toEqual(Object.fromEntries(manifest.map(([id, { de }]) => [id, de])));
  });

  it('are not in the scripts of the pages', () => {
    for (const name of ['extension/media/threshold.js', 'extension/webview/report.mjs']) {
      const literals = nodesOf(path.join(ROOT, name)).filter((node) => ts.isStringLiteralLike(node) || ts.isTemplateHead(node) || ts.isTemplateMiddleOrTemplateTail(node));
      const texts = literals.map(({ text }) => text).filter((text) => text !== 'use strict');
      expect(texts.filter((text) => /^\p{Lu}|\p{L} \p{L}/u.test(text)), name).toEqual([]);
    }
  });
});

describe('the texts of the manifest', () => {
  const source = fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8');
  const keys = [...source.matchAll(/"%([\w.]+)%"/g)].map((match) => match[1]).sort();

  it.each([
    ['English', englishTexts],
    ['German', germanTexts],
  ])('exist in %s, and no others', (_, texts) => expect(Object.keys(texts).sort()).toEqual(keys));

  it('are not in the manifest itself', () => {
    const texts = [...source.matchAll(/"(title|description|markdownDescription)": "([^"]*)"/g)].map((match) => match[2] ?? '');
    expect(texts.filter((text) => !/^%.*%$/.test(text) && text !== 'Green Code')).toEqual([]);
    [...source.matchAll(/"enumDescriptions": \[([^\]]*)\]/g)].forEach((match) => expect(match[1]).toMatch(/^(\s*"%[\w.]+%",?)+\s*$/));
  });

  it('give a command the same title everywhere', () => {
    for (const [key, title] of Object.entries(englishTexts).filter(([key]) => key.startsWith('command.'))) {
      own.filter(([, { en }]) => en === title).forEach(([, { de }]) => expect(de, key).toBe((germanTexts as Texts)[key]));
    }
    const links = (texts: Texts) => Object.values(texts).flatMap((text) => [...text.matchAll(/\[(.+)\]\(command:greenCode\.(\w+)\)/g)].map((match) => [match[1], texts[`command.${match[2] ?? ''}`]]));
    [...links(englishTexts), ...links(germanTexts)].forEach(([shown, title]) => expect(shown).toBe(title));
  });

  it('make the same promise on the first page of the walkthrough and in the dialog of Set Up', () => {
    const { en, de } = table['consent.promise'];
    const page = (ending: string) => fs.readFileSync(path.join(WALKTHROUGH, `set-up${ending}.md`), 'utf8');
    expect([page(''), page('.nls.de')]).toEqual([en, de].map((text) => expect.stringContaining(text) as unknown));
  });

  it('have a German page for each step of the walkthrough', () => {
    const pages = [...source.matchAll(/"markdown": "extension\/media\/walkthrough\/(.*)\.md"/g)].map((match) => match[1] ?? '');
    expect(fs.readdirSync(WALKTHROUGH).sort()).toEqual(pages.flatMap((name) => [`${name}.md`, `${name}.nls.de.md`]).sort());
  });
});

describe('German texts', () => {
  const report: Report = {
    today: totals,
    all: { ...totals, source: 'estimate' },
    idle_joules: 5,
    by_day: [{ ...totals, day: '2026-01-02' }, { ...totals, day: '2026-01-03' }],
    by_language: [{ ...totals, language: 'python' }, { ...totals, language: 'java' }],
    by_model: [{ ...totals, model: 'gemma' }],
  };
  const calibration: Calibration = {
    presets: [{ name: 'saver', threshold: 0.6, allowedLoss: 0.05, confidence: 0.95, saving: 0.3 }],
    curve: [
      { threshold: 0.6, saving: 0.3, quality: 0.94 },
      { threshold: 1, saving: 0, quality: 1 },
    ],
    suggestions,
  };
  const agreement = { checks: 20, agreed: 11, calibrated: 0.8, raised_to: 0.6 };
  const status = { state: 'ready', message: '', progress: null, reason: null } as const;
  const full = snapshot({ status, energy: { ...energy, agreement, on_battery: true } });
  const options = { style: 's', styles: ['s'], script: 's', nonce: 'n', cspSource: 'c', gridIntensity: 500, suggestions };
  const active = { id: 'typescript', name: '42', isOn: false };
  const last = { text: ' x', tokens: [{ text: ' x', layers: 9, draft: '' }], passes: 1, layers_total: 18, energy_joules: 1, energy_source: 'nvml', saving: 0.5, threshold: 0.8, decoding: 'fast' } as const;

  const original = structuredClone(table);
  afterEach(() => {
    Object.assign(table, structuredClone(original));
    env.language = 'en';
  });

  /** The words on a page: text, labels and the names in its charts. */
  function shown(html: string): string {
    const charts = [...html.matchAll(/data-chart="([^"]*)"/g)].map((match) => JSON.parse((match[1] ?? '').replaceAll('&quot;', '"')) as { unit: string; series: { name: string }[] });
    const labels = [...html.matchAll(/aria-label="([^"]*)"/g)].map((match) => match[1]);
    const text = html.replace(/<(style|script)[\s\S]*?<\/\1>|<[^>]*>/g, ' ');
    return [text, ...labels, ...charts.flatMap(({ unit, series }) => [unit, ...series.map(({ name }) => name)])].join(' ');
  }

  it('are in pages, the view and the status item', () => {
    env.language = 'de';
    expect(language()).toBe('de');
    expect(page(options)).toContain('<html lang="de">');
    expect(page(options)).toContain(`<label for="threshold">${table['threshold.exitThreshold'].de}</label>`);
    const html = renderReport(report, options);
    expect(html).toContain('<html lang="de">');
    expect(html).toContain('<dd>12,4 J von 36,4 J gespart</dd>');
    expect(html).toContain('Energie: aus der CPU-Zeit geschätzt.');
    expect(stateMessage({ ...full, settings: { ...defaults, decoding: 'fast' } }, []).summary).toBe('Im Mittel liefen 13,0 von 18 Schichten des Modells');
    expect(present(full, suggestions, active).label).toContain('Heute: 12,4 J gespart (34\u00a0%) bei 120 Vorschlägen, auf der CPU gemessen (RAPL).');
  });

  it('are in the status of the engine: the reason in German, then what only the engine knows', () => {
    env.language = 'de';
    const label = (state: 'paused' | 'error' | 'loading', reason: string | null) => present(snapshot({ status: { state, message: 'x.bin is damaged.', progress: null, reason } }), null, null).label;
    expect(label('paused', 'paused_on_battery')).toBe(`Green Code. Pausiert: ${table['why.paused_on_battery'].de}`);
    expect(label('error', 'model_damaged')).toContain('Fehler: Die Dateien des Modells sind beschädigt. x.bin is damaged.');
    expect(label('loading', null)).toBe('Green Code. Modell wird geladen.');
  });

  it('are all words: with a table without letters, none are left', () => {
    const withoutLetters = (text: string) => text.split(/(\{\w+\})/).map((part) => (part.startsWith('{') ? part : part.replace(/\p{L}/gu, ''))).join('');
    env.language = 'de';
    Object.values(table).forEach((text) => (text.de = withoutLetters(text.de)));
    const all = stringsIn([
      shown(renderReport(report, options)),
      shown(page(options)),
      scaleMessage(calibration),
      scaleMessage({ ...calibration, suggestions: null }),
      stateMessage(full, calibration.curve),
      stateMessage({ ...full, settings: { ...defaults, decoding: 'fast' } }, []),
      [present(full, suggestions, active), present({ ...full, settings: { ...defaults, decoding: 'fast' } }, suggestions, null)].map(({ text, tooltip, label }) => [text, tooltip, label]),
      entries(full, active).map(({ label, description }) => [label, description]),
      choices(calibration, 0.7),
      stopChoices(calibration, defaults),
      stopChoices(calibration, { ...defaults, decoding: 'fast' }),
      renderLayers(last),
      renderLayers({ ...last, decoding: 'exact' }),
    ]).map((text) => text.replace(/\$\([\w-]+\)|\(command:[\w.]+\)|^greenCode\.\w+$/g, '')); // icons and commands
    const words = new Set(all.flatMap((text) => text.match(/\p{L}{3,}/gu) ?? []));
    const notWords = ['Green', 'Code', 'python', 'java', 'gemma', 'exact', 'fast', 'mWh', ...STOPS, ...['scale', 'state', 'ready'], ...['accepted', 'right', 'joules', 'accuracy', 'energy']]; // the last are message types and series
    expect([...words].filter((word) => !notWords.includes(word))).toEqual([]);
  });

  it('have figures with a comma, and numbers are parsed with one', () => {
    env.language = 'de';
    expect([joules(12.34), whole(1234), threshold(0.9), percent(-0.05), carbon(130, 500)]).toEqual(['12,3 J', '1.234', '0,90', '\u22125\u00a0%', '18,1 mg']);
    expect(parseThreshold(threshold(0.9))).toEqual({ value: 0.9 });
  });

  it('are English in an editor of a third language', () => {
    env.language = 'fr';
    expect([language(), t('status.saved', { share: percent(0.5) })]).toEqual(['en', '50% less energy']);
  });
});
