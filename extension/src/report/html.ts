/**
 * The energy report as a page: figures, charts, and tables by day, language and model where there are several. Our own texts
 * contain no markup (a test checks), so they are inserted without escaping. Must not use the editor's API.
 */
import { COMMANDS } from '../ids';
import { language, t } from '../l10n';
import type { Report, Totals } from '../protocol';
import {
  acceptanceRate, acceptedOfShown, carbon, joules, joulesOf, joulesPerCharacter, lessEnergy, plain, shortDay, sourceText, unmeasuredText, wattHours, whole,
} from '../state/format';
import type { Suggestions } from '../threshold/suggestions';

interface ReportPage {
  readonly style: string;
  readonly script: string;
  readonly nonce: string;
  readonly cspSource: string;
  /** Grams of CO2 equivalent per kilowatt-hour. */
  readonly gridIntensity: number;
  /** What was measured for the model, to compare today with. */
  readonly suggestions: Suggestions | null;
}

export function renderReport(report: Report, { style, script, nonce, cspSource, gridIntensity, suggestions }: ReportPage): string {
  return `<!DOCTYPE html>
<html lang="${language()}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${cspSource}; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>${t('report.title')}</title>
</head>
<body>
<main>
<h1>${t('common.energyReport')}</h1>
${report.all.source === null ? empty() : filled(report, gridIntensity, suggestions)}
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}

/** Before the first completion: what to do. */
function empty(): string {
  return `<p class="lead">${t('report.empty')}</p>
<p>${t('report.emptyHint')}</p>
<p class="actions">${button(t('report.refresh'), COMMANDS.energyReport, 'refresh')}</p>`;
}

function filled(report: Report, gridIntensity: number, suggestions: Suggestions | null): string {
  const { today, all } = report;
  return `${today.source === null ? `<p class="lead">${t('report.nothingToday')}</p>` : ''}
${figures(report, suggestions)}
<p>${electricity(all, gridIntensity)}</p>
<p class="note">${basis(report)}</p>
${charts(report)}
${table(t('report.byDay'), t('report.dayUtc'), report.by_day.toReversed().map((totals) => ({ name: totals.day, totals })))}
${table(t('report.byLanguage'), t('report.language'), report.by_language.map((totals) => ({ name: totals.language, totals })))}
${table(t('report.byModel'), t('report.model'), report.by_model.map((totals) => ({ name: totals.model, totals })))}
<p class="note">${legend()}</p>
<p class="actions">${buttons()}</p>`;
}

/** The most important figures: large those of today, or of all time if there are none; the other ones below. */
function figures({ today, all }: Report, suggestions: Suggestions | null): string {
  const isToday = today.source !== null;
  const shown = isToday ? today : all;
  const isAll = JSON.stringify(shown) === JSON.stringify(all);
  const tile = (id: string, name: string, figure: (totals: Totals) => string, detail: string, notes: readonly string[] = []) => {
    const below = [...(isAll ? [] : [t('report.allTimeFigure', { figure: figure(all) })]), ...notes];
    return `<div class="tile" id="${id}"><dt>${name}</dt><dd class="figure">${figure(shown)}</dd><dd>${detail}</dd>${below.map((note) => `<dd class="note">${note}</dd>`).join('')}</div>`;
  };
  const always = suggestions === null ? [] : [t('report.alwaysSuggesting', { figure: joules(suggestions.always.joules) })];
  const values = {
    saved: joulesOf(shown, shown.saved_joules),
    full: joulesOf(shown, shown.energy_full_joules),
    kept: whole(shown.retained),
    used: joulesOf(shown, shown.energy_joules),
    characters: whole(shown.characters),
  };
  return `<section><h2>${isToday ? t('common.today') : t('report.allTime')}</h2><dl class="tiles">
${tile('less-energy', t('figures.lessEnergy'), lessEnergy, t('report.savedOf', values))}
${tile('acceptance', t('figures.suggestionsAccepted'), acceptanceRate, t('report.acceptedKept', { accepted: acceptedOfShown(shown), ...values }))}
${tile('characters', t('common.charactersAccepted'), ({ accepted_characters: accepted }) => whole(accepted), t('report.ofCharacters', values))}
${tile('energy-per-character', t('common.joulesPerCharacter'), joulesPerCharacter, t('report.usedInAll', values), always)}
</dl></section>`;
}

/** How the figures were obtained, and what they are compared with. */
function basis({ all, idle_joules: idle }: Report): string {
  const waited = idle === 0 ? '' : t('report.idle', { used: joules(idle) });
  return [unmeasuredText(all), waited, t('common.energySource', { source: escape(sourceText(all.source)) }), t('report.noteSaving')].filter(Boolean).join(' ');
}

const legend = () => [t('report.noteShown'), t('report.noteRetained'), t('report.noteJoulesPerCharacter'), t('report.noteCancelled'), t('report.noteExport')].join(' ');

function buttons(): string {
  return [
    button(t('report.export'), COMMANDS.exportHistory, 'export'),
    button(t('report.deleteHistory'), COMMANDS.deleteHistory, 'delete'),
    button(t('report.refresh'), COMMANDS.energyReport, 'refresh'),
  ].join(' ');
}

/** In kilowatt-hours and CO2. */
function electricity({ energy_joules: used, saved_joules: saved }: Totals, gridIntensity: number): string {
  return t('report.carbon', {
    used: wattHours(used),
    usedCarbon: carbon(used, gridIntensity),
    saved: wattHours(saved),
    savedCarbon: carbon(saved, gridIntensity),
    intensity: plain(gridIntensity),
  });
}

interface Series {
  readonly name: string;
  /** A variable of the colour theme. */
  readonly color: string;
  readonly values: readonly number[];
}

/** One day alone would repeat the figures above. */
function charts({ by_day: days }: Report): string {
  if (days.length < 2) {
    return '';
  }
  const labels = days.map(({ day }) => shortDay(day));
  const series = (name: string, color: string, figure: (totals: Totals) => number): Series => ({ name, color: `--vscode-charts-${color}`, values: days.map(figure) });
  const all = [
    chart(t('report.joulesByDay'), labels, t('report.joules'), true, [
      series(t('report.energyUsed'), 'blue', ({ energy_joules }) => energy_joules),
      // A negative saving cannot be stacked; the table shows it with a minus sign.
      series(t('common.saved'), 'green', ({ saved_joules }) => Math.max(0, saved_joules)),
    ]),
    chart(t('report.completionsByDay'), labels, t('report.suggestions'), false, [
      series(t('report.shown'), 'blue', ({ shown }) => shown),
      series(t('common.accepted'), 'green', ({ accepted }) => accepted),
      series(t('report.retained'), 'purple', ({ retained }) => retained),
    ]),
  ];
  return `<div class="charts">${all.join('\n')}</div>`;
}

function chart(title: string, labels: readonly string[], unit: string, stacked: boolean, series: readonly Series[]): string {
  const data = escape(JSON.stringify({ labels, unit, stacked, series }));
  const label = t('report.chartLabel', { title });
  return `<section><h2>${title}</h2><div class="chart"><canvas role="img" aria-label="${label}" data-chart="${data}"></canvas></div></section>`;
}

interface Row {
  readonly name: string;
  readonly totals: Totals;
}

const headings = () => [
  t('figures.lessEnergy'),
  t('report.energyUsed'),
  t('figures.suggestionsAccepted'),
  t('report.retained'),
  t('common.charactersAccepted'),
  t('report.energyPerCharacter'),
];

/** A breakdown. With one row, it would repeat the totals. */
function table(title: string, first: string, rows: readonly Row[]): string {
  if (rows.length < 2) {
    return '';
  }
  const heads = [first, ...headings()].map((heading) => `<th scope="col">${heading}</th>`).join('');
  return `<section><h2>${title}</h2><div class="scroll" tabindex="0" role="region" aria-label="${title}"><table><thead><tr>${heads}</tr></thead><tbody>${rows.map(row).join('')}</tbody></table></div></section>`;
}

function row({ name, totals }: Row): string {
  const cells = [
    pair(joulesOf(totals, totals.saved_joules), lessEnergy(totals)),
    joulesOf(totals, totals.energy_joules),
    pair(acceptedOfShown(totals), acceptanceRate(totals)),
    ...[totals.retained, totals.accepted_characters].map(whole),
    joulesPerCharacter(totals),
  ];
  return `<tr><th scope="row">${escape(name)}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

/** A figure and its share, each aligned with those above. */
const pair = (figure: string, share: string) => `${figure} <span class="share">${share}</span>`;

function button(title: string, command: string, id: string): string {
  return `<button type="button" id="${id}" data-command="${command}">${title}</button>`;
}

export function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}
