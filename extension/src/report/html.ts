/** The energy report as a page: totals, charts, and a table by day, language and model. Must not know: the editor's API. */
import { COMMANDS } from '../ids';
import type { Report, Totals } from '../protocol';
import { carbon, joules, kilowattHours, percent, plural, sourceText } from '../state/format';

export interface ReportPage {
  readonly style: string;
  readonly script: string;
  readonly nonce: string;
  readonly cspSource: string;
  /** Grams of CO2 equivalent per kilowatt-hour. */
  readonly gridIntensity: number;
}

export function renderReport(report: Report, { style, script, nonce, cspSource, gridIntensity }: ReportPage): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${cspSource}; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>Green Code: Energy Report</title>
</head>
<body>
<main>
<h1>Energy Report</h1>
${summary(report.today, 'today')}
<p class="note">${report.source === null ? '' : `Energy is ${escape(sourceText(report.source))}. `}Savings compare with the same model at full depth, with the same cache, on the same requests.</p>
${inTheWorld(report.all, gridIntensity)}
${charts(report)}
${table('Totals', 'Period', [
  { name: 'Today', totals: report.today },
  { name: 'All time', totals: report.all },
])}
${table('By day', 'Day (UTC)', report.by_day.map((totals) => ({ name: totals.day, totals })))}
${table('By language', 'Language', report.by_language.map((totals) => ({ name: totals.language, totals })))}
${table('By model', 'Model', report.by_model.map((totals) => ({ name: totals.model, totals })))}
<p class="note">Shown: the editor was given a text. Kept: half a minute after it was accepted it was still there. Completions that were overtaken by the next key, and checks at full depth, count with their joules only.</p>
<p class="actions">${button('Export…', COMMANDS.exportHistory)} ${button('Delete History…', COMMANDS.deleteHistory)} ${button('Refresh', COMMANDS.energyReport)}</p>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}

function summary(totals: Totals, when: string): string {
  return totals.completions === 0
    ? `<p class="lead">No completion ${when} yet.</p>`
    : `<p class="lead"><strong>${joules(totals.saved_joules)}</strong> saved ${when}, ${percent(totals.saving)} of what full depth would have used, in ${plural(totals.completions, 'completion')}.</p>`;
}

/** In the units of an electricity bill. */
function inTheWorld({ energy_joules: used, saved_joules: saved }: Totals, gridIntensity: number): string {
  return `<p>In all, ${kilowattHours(used)} used (${carbon(used, gridIntensity)} CO₂e) and ${kilowattHours(saved)} not spent (${carbon(saved, gridIntensity)} CO₂e), at ${gridIntensity} g per kWh: the setting greenCode.gridIntensity.</p>`;
}

interface Series {
  readonly name: string;
  /** The theme's variable. */
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
    chart('Joules by day', labels, 'J', true, [
      series('Used', 'blue', ({ energy_joules }) => energy_joules),
      // A day that lost against full depth has nothing to stack; the table has its minus sign.
      series('Not spent', 'green', ({ saved_joules }) => Math.max(0, saved_joules)),
    ]),
    chart('Completions by day', labels, 'completions', false, [
      series('Shown', 'blue', ({ shown }) => shown),
      series('Accepted', 'green', ({ accepted }) => accepted),
      series('Kept', 'purple', ({ kept }) => kept),
    ]),
  ].join('\n');
}

function chart(title: string, labels: readonly string[], unit: string, stacked: boolean, series: readonly Series[]): string {
  const data = escape(JSON.stringify({ labels, unit, stacked, series }));
  return `<section><h2>${title}</h2><div class="chart"><canvas role="img" aria-label="${title}: the figures are in the table By day" data-chart="${data}"></canvas></div></section>`;
}

interface Row {
  readonly name: string;
  readonly totals: Totals;
}

const HEADINGS = ['Not spent', 'Share', 'Used', 'Full depth', 'Completions', 'Shown', 'Accepted', 'Kept', 'Tokens', 'Layers per token', 'CPU time'];

function table(title: string, first: string, rows: readonly Row[]): string {
  if (rows.length === 0) {
    return '';
  }
  const heads = [first, ...HEADINGS].map((heading) => `<th scope="col">${heading}</th>`).join('');
  return `<section><h2>${title}</h2><div class="scroll"><table><thead><tr>${heads}</tr></thead><tbody>${rows.map(row).join('')}</tbody></table></div></section>`;
}

function row({ name, totals }: Row): string {
  const share = Math.max(0, totals.saving);
  const cells = [
    joules(totals.saved_joules),
    `<meter min="0" max="1" value="${share}" aria-hidden="true"></meter> ${percent(totals.saving)}`,
    joules(totals.energy_joules),
    joules(totals.energy_full_joules),
    ...[totals.completions, totals.shown, totals.accepted, totals.kept, totals.tokens].map(String),
    totals.mean_layers.toFixed(1),
    `${totals.cpu_seconds.toFixed(1)} s`,
  ];
  return `<tr><th scope="row">${escape(name)}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

function button(title: string, command: string): string {
  return `<button type="button" data-command="${command}">${title}</button>`;
}

export function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}
