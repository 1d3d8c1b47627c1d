/** Renders docs/editor.md from a summary. */
const ms = (value) => (value === null ? '–' : `${value.toFixed(0)} ms`);
const between = (range) => (range === null ? '' : ` [${range[0].toFixed(0)}, ${range[1].toFixed(0)}]`);
const over = (value, baseline) => (value === null || baseline === null ? '–' : `${value - baseline >= 0 ? '+' : '\u2212'}${Math.abs(value - baseline).toFixed(0)} ms`);
const table = (rows) => [rows[0], rows[0].map(() => '--:'), ...rows.slice(1)].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

export function page({ version, date, machine, files, arms: { instant, ours, naive } }) {
  const baseline = instant.all;
  const latency = (name, { keys, p50, p50_interval: p50s, p95, p95_interval: p95s }) => [name, keys, `${ms(p50)}${between(p50s)}`, over(p50, baseline.p50), `${ms(p95)}${between(p95s)}`, over(p95, baseline.p95)];
  const estimated = ours.energy_source === 'estimate' ? ' (estimated)' : '';
  const share = (1 - ours.joules_per_100_keys / naive.joules_per_100_keys) * 100;
  return `# In the editor

This page measures how long after a key its suggestion appears, and the energy that typing takes. ${ours.keys} keys in ${files} files
(\`extension/test/bench/recordings.jsonl\`: simulated typing of our own programs) are typed into VS Code in a browser, once per
arm, two of them for the baseline. No suggestion is accepted. Measured on ${date} on ${machine}, Green Code ${version}, default model and settings.

## From key to suggestion

The baseline is the workbench's own latency. Its engine answers at once, so what remains is the editor's delay before a request,
the way to the server and back, and drawing. While somebody types fast, an unsure suggestion waits until 0.2 s after the last key
([stops](stops.md)). Along a shown suggestion, the editor updates the text at once and only
asks whether it is still valid; those figures can be below the baseline. A key counts if a new suggestion appears before the next
key. Later suggestions are never seen, and empty ones are not shown. Of ${ours.sent} requests that reached the engine, ${ours.engine.keys}
were shown in time. Brackets are 95 % bootstrap intervals over keys.

${table([
  ['', 'keys', 'median', 'over baseline', '95th percentile', 'over baseline'],
  latency('baseline', baseline),
  latency('Green Code, from the engine', ours.engine),
  latency('Green Code, along a suggestion', ours.before),
])}

## Flicker

Per 100 keys, ${ours.flicker_per_100_keys.toFixed(1)} suggestions vanished within 0.1 s of their appearance, and ${ours.unread_per_100_keys.toFixed(1)} within 0.25 s, which is too soon to
read them. Without gate, type-through and debouncing they are ${naive.flicker_per_100_keys.toFixed(1)} and ${naive.unread_per_100_keys.toFixed(1)}. The rest of a suggestion that is typed along has not
vanished, nor has one that was typed to its end.

## Energy

The *naive* client has no gate, no type-through and no debouncing: each request of the editor goes to the engine, and the next request
cancels it.

${table([
  ['', 'Green Code', 'naive'],
  ['requests of the editor', ours.requests, naive.requests],
  ['answered from an earlier suggestion', ours.answered_before, naive.answered_before],
  ['cancelled before they reached the engine', ours.cancelled_unsent, naive.cancelled_unsent],
  ['refused, or without text before the cursor', ours.refused, naive.refused],
  ['sent to the engine', ours.sent, naive.sent],
  ['of these: cancelled there', ours.cancelled_sent, naive.cancelled_sent],
  ['completed by the engine, including those cancelled at their end', ours.completions, naive.completions],
  [`joules per 100 keys${estimated}`, ours.joules_per_100_keys.toFixed(1), naive.joules_per_100_keys.toFixed(1)],
])}

Per 100 keys, Green Code uses ${Math.abs(share).toFixed(0)} % ${share >= 0 ? 'less' : 'more'} energy than the naive client with the same model.

## To reproduce

\`\`\`
make bench-editor
\`\`\`

Run it on an idle machine. The command writes this page and its [data](editor.json).
`;
}
