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
<title>${t('Green Code: Energy Report')}</title>
</head>
<body>
<main>
<h1>${t('Energy Report')}</h1>
<p class="lead">${summary(report.today)} ${escape(acceptedText(report.today, suggestions))}</p>
<p class="note">${basis(report.all)}</p>
<p>${electricity(report.all, gridIntensity)}</p>
${charts(report)}
${table(t('Totals'), t('Period'), [
  { name: t('Today'), totals: report.today },
  { name: t('All time'), totals: report.all },
])}
${table(t('By day'), t('Day (UTC)'), report.by_day.map((totals) => ({ name: totals.day, totals })))}
${table(t('By language'), t('Language'), report.by_language.map((totals) => ({ name: totals.language, totals })))}
${table(t('By model'), t('Model'), report.by_model.map((totals) => ({ name: totals.model, totals })))}
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
    ...(source === null ? [] : [t('Energy: {source}.', { source: escape(sourceText(source)) })]),
    t('Savings are relative to the same model at full depth, with the same cache and the same requests.'),
  ].join(' ');
}

function legend(): string {
  return [
    t('Shown: the editor received a suggestion.'),
    t('Retained: the accepted text was still there after 30 seconds.'),
    t('Joules per accepted character: all joules used, also for suggestions that were not accepted.'),
    t('Cancelled completions and checks at full depth count towards energy only.'),
  ].join(' ');
}

function buttons(): string {
  return [
    button(t('Export…'), COMMANDS.exportHistory, 'export'),
    button(t('Delete History…'), COMMANDS.deleteHistory, 'delete'),
    button(t('Refresh'), COMMANDS.energyReport, 'refresh'),
  ].join(' ');
}

function summary(totals: Totals): string {
  if (totals.completions === 0) {
    return t('No completions today.');
  }
  const values = {
    saved: `<strong>${joules(totals.saved_joules)}</strong>`,
    share: percent(totals.saving),
    count: whole(totals.completions),
  };
  return totals.completions === 1
    ? t('{saved} saved today in {count} completion: {share} of the energy at full depth.', values)
    : t('{saved} saved today in {count} completions: {share} of the energy at full depth.', values);
}

/** In kilowatt-hours and CO2. */
function electricity({ energy_joules: used, saved_joules: saved }: Totals, gridIntensity: number): string {
  return t('In total: {used} used ({usedCarbon} CO₂e), {saved} saved ({savedCarbon} CO₂e), at {intensity} g per kWh (greenCode.gridIntensity).', {
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
    chart(t('Joules by day'), labels, 'J', true, [
      series(t('Used'), 'blue', ({ energy_joules }) => energy_joules),
      // A negative saving cannot be stacked; the table shows it with a minus sign.
      series(t('Saved'), 'green', ({ saved_joules }) => Math.max(0, saved_joules)),
    ]),
    chart(t('Completions by day'), labels, t('Completions'), false, [
      series(t('Shown'), 'blue', ({ shown }) => shown),
      series(t('Accepted'), 'green', ({ accepted }) => accepted),
      series(t('Retained'), 'purple', ({ retained }) => retained),
    ]),
  ].join('\n');
}

function chart(title: string, labels: readonly string[], unit: string, stacked: boolean, series: readonly Series[]): string {
  const data = escape(JSON.stringify({ labels, unit, stacked, series }));
  const label = t('{title}: the table By day has the figures', { title });
  return `<section><h2>${title}</h2><div class="chart"><canvas role="img" aria-label="${label}" data-chart="${data}"></canvas></div></section>`;
}

interface Row {
  readonly name: string;
  readonly totals: Totals;
}

const headings = () => [
  t('Saved'),
  t('Share saved'),
  t('Used'),
  t('Full depth'),
  t('Completions'),
  t('Shown'),
  t('Accepted'),
  t('Retained'),
  t('Characters accepted'),
  t('Joules per accepted character'),
  t('Tokens'),
  t('Layers per token'),
  t('CPU time'),
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
