/** The energy report as a page: totals, days, languages. No script; the bars are native meters. Must not know: the editor's API. */
import type { Report, Totals } from '../protocol';
import { joules, percent, plural, sourceText } from '../state/format';

export interface ReportPage {
  readonly style: string;
  readonly cspSource: string;
}

export function renderReport(report: Report, { style, cspSource }: ReportPage): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${cspSource}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>Green Code: Energy Report</title>
</head>
<body>
<main>
<h1>Energy Report</h1>
${summary(report.today, 'today')}
<p class="note">${report.source === null ? '' : `Energy is ${escape(sourceText(report.source))}. `}Savings compare with the same model at full depth, with the same cache, on the same requests.</p>
${table('Totals', 'Period', [
  { name: 'Today', totals: report.today },
  { name: 'All time', totals: report.all },
])}
${table('By day', 'Day', report.by_day.map((totals) => ({ name: totals.day, totals })))}
${table('By language', 'Language', report.by_language.map((totals) => ({ name: totals.language, totals })))}
</main>
</body>
</html>`;
}

function summary(totals: Totals, when: string): string {
  return totals.completions === 0
    ? `<p class="lead">No completion ${when} yet.</p>`
    : `<p class="lead"><strong>${joules(totals.saved_joules)}</strong> saved ${when}, ${percent(totals.saving)} of what full depth would have used, in ${plural(totals.completions, 'completion')}.</p>`;
}

interface Row {
  readonly name: string;
  readonly totals: Totals;
}

const HEADINGS = ['Saved', 'Share', 'Used', 'Full depth', 'Completions', 'Accepted', 'Tokens', 'Layers per token', 'CPU time'];

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
    String(totals.completions),
    String(totals.accepted),
    String(totals.tokens),
    totals.mean_layers.toFixed(1),
    `${totals.cpu_seconds.toFixed(1)} s`,
  ];
  return `<tr><th scope="row">${escape(name)}</th>${cells.map((cell) => `<td>${cell}</td>`).join('')}</tr>`;
}

export function escape(text: string): string {
  const entities: Readonly<Record<string, string>> = { '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;', "'": '&#39;' };
  return text.replace(/[&<>"']/g, (character) => entities[character] ?? character);
}
