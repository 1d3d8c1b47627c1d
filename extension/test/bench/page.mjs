/** docs/editor.md from a summary. */
const ms = (value) => (value === null ? '–' : `${value.toFixed(0)} ms`);
const between = (range) => (range === null ? '' : ` [${range[0].toFixed(0)}, ${range[1].toFixed(0)}]`);
const over = (one, floor) => (one === null || floor === null ? '–' : `${one - floor >= 0 ? '+' : '\u2212'}${Math.abs(one - floor).toFixed(0)} ms`);
const table = (rows) => [rows[0], rows[0].map(() => '--:'), ...rows.slice(1)].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

export function page({ version, date, machine, files, arms: { instant, ours, naive } }) {
  const floor = instant.all;
  const latency = (name, { keys, p50, p50_interval: p50s, p95, p95_interval: p95s }) => [name, keys, `${ms(p50)}${between(p50s)}`, over(p50, floor.p50), `${ms(p95)}${between(p95s)}`, over(p95, floor.p95)];
  const estimated = ours.energy_source === 'estimate' ? ' (estimated)' : '';
  const share = (1 - ours.joules_per_100_keys / naive.joules_per_100_keys) * 100;
  return `# In the editor

How long after a key its suggestion stands in the document, and what the typing costs. ${ours.keys} keys in ${files} files
(\`extension/test/bench/recordings.jsonl\`: simulated typing of our own programs) go to a VS Code in a browser, once for each
arm; nothing is accepted. Measured on ${date} on ${machine}, Green Code ${version}, default model and settings.

## From key to suggestion

The floor is the workbench's own: an *instant* front answers at once, so what is left is the editor's wait before it asks,
the way to the server and back, and the drawing. Along a suggestion that is shown the editor moves by itself, at once, and
only asks whether it still holds: hence figures below the floor. A key counts where a suggestion came that was not there before, and before
the next key. One that comes later is never seen, and an empty one is not shown: of ${ours.sent} requests that reached the engine, ${ours.engine.keys}
were shown in time. Brackets are 95 % bootstrap intervals over keys.

${table([
  ['', 'keys', 'median', 'over the floor', '95th percentile', 'over the floor'],
  latency('floor', floor),
  latency('Green Code, from the engine', ours.engine),
  latency('Green Code, along a suggestion', ours.before),
])}

## What it costs

The *naive* client is the same without type-through and without the wait for a fast typist's next key: each request of the
editor goes to the engine, and is cancelled when the next one comes.

${table([
  ['', 'Green Code', 'naive'],
  ['requests of the editor', ours.requests, naive.requests],
  ['answered from an earlier suggestion', ours.answered_before, naive.answered_before],
  ['overtaken before they reached the engine', ours.cancelled_unsent, naive.cancelled_unsent],
  ['refused by a guard, or without a text before the cursor', ours.refused, naive.refused],
  ['sent to the engine', ours.sent, naive.sent],
  ['of these: overtaken there', ours.cancelled_sent, naive.cancelled_sent],
  ['completed, as the engine counts: one that was overtaken at its end is here, too', ours.completions, naive.completions],
  [`joules per 100 keys${estimated}`, ours.joules_per_100_keys.toFixed(1), naive.joules_per_100_keys.toFixed(1)],
])}

Per 100 keys, Green Code spends ${Math.abs(share).toFixed(0)} % ${share >= 0 ? 'less' : 'more'} than the naive client with the same model.

## To reproduce

\`\`\`
make bench-editor
\`\`\`

On a machine that does nothing else. This page and its [data](editor.json) are written by that command.
`;
}
