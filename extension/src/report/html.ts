/**
 * The energy report as a page: totals, charts, and tables by day, language and model. Our own texts contain no markup (a test
 * checks), so they are inserted without escaping. Must not use the editor's API.
 */
import { COMMANDS } from '../ids';
import { language, t } from '../l10n';
import type { Report, Totals } from '../protocol';
import { acceptedText, carbon, joules, joulesPerCharacter, percent, plain, seconds, sourceText, tenths, wattHours, whole } from '../state/format';
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
<p class="lead">${summary(report.today)} ${escape(acceptedText(report.today, suggestions))}</p>
<p class="note">${basis(report.all)}</p>
<p>${electricity(report.all, gridIntensity)}</p>
${charts(report)}
${table(t('report.totals'), t('report.period'), [
  { name: t('common.today'), totals: report.today },
  { name: t('report.allTime'), totals: report.all },
])}
${table(t('report.byDay'), t('report.dayUtc'), report.by_day.map((totals) => ({ name: totals.day, totals })))}
${table(t('report.byLanguage'), t('report.language'), report.by_language.map((totals) => ({ name: totals.language, totals })))}
${table(t('report.byModel'), t('report.model'), report.by_model.map((totals) => ({ name: totals.model, totals })))}
<p class="note">${legend()}</p>
<p class="actions">${buttons()}</p>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}

/** How the figures were obtained, and what they are compared with. */
function basis({ source }: Totals): string {
  return [
    ...(source === null ? [] : [t('common.energySource', { source: escape(sourceText(source)) })]),
    t('report.noteSaving'),
  ].join(' ');
}

function legend(): string {
  return [
    t('report.noteShown'),
    t('report.noteRetained'),
    t('report.noteJoulesPerCharacter'),
    t('report.noteCancelled'),
  ].join(' ');
}

function buttons(): string {
  return [
    button(t('report.export'), COMMANDS.exportHistory, 'export'),
    button(t('report.deleteHistory'), COMMANDS.deleteHistory, 'delete'),
    button(t('report.refresh'), COMMANDS.energyReport, 'refresh'),
  ].join(' ');
}

function summary(totals: Totals): string {
  if (totals.completions === 0) {
    return t('report.nothingToday');
  }
  const values = {
    saved: `<strong>${joules(totals.saved_joules)}</strong>`,
    share: percent(totals.saving),
    count: whole(totals.completions),
  };
  return totals.completions === 1
    ? t('report.savedTodayOne', values)
    : t('report.savedToday', values);
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

function charts({ by_day: days }: Report): string {
  if (days.length === 0) {
    return '';
  }
  const labels = days.map(({ day }) => day);
  const series = (name: string, color: string, figure: (totals: Totals) => number): Series => ({ name, color: `--vscode-charts-${color}`, values: days.map(figure) });
  return [
    chart(t('report.joulesByDay'), labels, 'J', true, [
      series(t('common.used'), 'blue', ({ energy_joules }) => energy_joules),
      // A negative saving cannot be stacked; the table shows it with a minus sign.
      series(t('common.saved'), 'green', ({ saved_joules }) => Math.max(0, saved_joules)),
    ]),
    chart(t('report.completionsByDay'), labels, t('common.completions'), false, [
      series(t('report.shown'), 'blue', ({ shown }) => shown),
      series(t('common.accepted'), 'green', ({ accepted }) => accepted),
      series(t('report.retained'), 'purple', ({ retained }) => retained),
    ]),
  ].join('\n');
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
  t('common.saved'),
  t('common.shareSaved'),
  t('common.used'),
  t('common.fullDepth'),
  t('common.completions'),
  t('report.shown'),
  t('common.accepted'),
  t('report.retained'),
  t('common.charactersAccepted'),
  t('common.joulesPerCharacter'),
  t('report.tokens'),
  t('report.layersPerToken'),
  t('report.cpuTime'),
];

function table(title: string, first: string, rows: readonly Row[]): string {
  if (rows.length === 0) {
    return '';
  }
  const heads = [first, ...headings()].map((heading) => `<th scope="col">${heading}</th>`).join('');
  return `<section><h2>${title}</h2><div class="scroll"><table><thead><tr>${heads}</tr></thead><tbody>${rows.map(row).join('')}</tbody></table></div></section>`;
}

function row({ name, totals }: Row): string {
  const cells = [
    joules(totals.saved_joules),
    `<meter min="0" max="1" value="${Math.max(0, totals.saving)}" aria-hidden="true"></meter> ${percent(totals.saving)}`,
    joules(totals.energy_joules),
    joules(totals.energy_full_joules),
    ...[totals.completions, totals.shown, totals.accepted, totals.retained, totals.accepted_characters].map(whole),
    joulesPerCharacter(totals),
    whole(totals.tokens),
    tenths(totals.mean_layers),
    seconds(totals.cpu_seconds),
  ];
  return `<tr><th scope="row">${escape(name)}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

function button(title: string, command: string, id: string): string {
  return `<button type="button" id="${id}" data-command="${command}">${title}</button>`;
}

export function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}
