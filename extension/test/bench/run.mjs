/**
 * Latency from keystroke to ghost text in a real workbench: the recordings are typed once per arm.
 *
 *   node extension/test/bench/run.mjs --python PYTHON --vsix FILE [--out docs/editor.md] [--keys N]
 *
 * `instant` has an engine that answers at once: the workbench's own latency. It types fewer recordings than the others. `ours` is the packaged
 * extension. `naive` is the same without gate, type-through and debouncing, which keep requests from the engine. No suggestion is
 * accepted. It takes seven minutes. Run it on an idle machine.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { daemonFolders, pause, Workbench } from '../e2e/harness.mjs';
import { chromium, install } from '../e2e/install.mjs';
import { greenCodeProcesses, kill } from '../e2e/processes.mjs';
import { ready } from '../e2e/steps/common.mjs';
import { page } from './page.mjs';
import { summarise } from './summary.mjs';

const HERE = import.meta.dirname;
const ARMS = ['instant', 'ours', 'naive'];
const INSTANT_RECORDINGS = 2;

const { values: options } = parseArgs({
  options: {
    python: { type: 'string' },
    vsix: { type: 'string' },
    out: { type: 'string', default: 'docs/editor.md' },
    keys: { type: 'string', default: 'Infinity' },
  },
});

/** Records when keys are pressed and when suggestions appear in the document, in the page's time. */
function watch() {
  const events = (window.greenCodeEvents = []);
  const now = () => performance.timeOrigin + performance.now();
  const ghost = () => [...document.querySelectorAll('.ghost-text-decoration')].map((node) => node.textContent).join('');
  let shown = '';
  document.addEventListener('keydown', (event) => events.push({ kind: 'key', at: now(), key: event.key }), true);
  new MutationObserver(() => {
    const text = ghost();
    if (text !== shown) {
      shown = text;
      events.push({ kind: 'ghost', at: now(), text });
    }
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
}

async function replay(workbench, { file, before, keys }) {
  await workbench.openFile(file, before);
  await workbench.page.keyboard.press('Control+End');
  await pause(2000); // for the language to be detected and the engine to read the file
  await workbench.page.evaluate(() => window.greenCodeEvents.push({ kind: 'begin' }));
  let due = performance.now();
  for (const [wait, key] of keys) {
    due += wait;
    await pause(Math.max(0, due - performance.now()));
    due = Math.max(due, performance.now() - 20); // a slow browser does not make the typist faster
    await workbench.page.keyboard.press(key === ' ' ? 'Space' : key);
  }
  await pause(1500);
  await workbench.page.evaluate(() => window.greenCodeEvents.push({ kind: 'end' }));
  await workbench.saved();
}

function ledger(data, python) {
  const environment = { ...process.env, GREEN_CODE_DATA_DIR: data };
  const file = path.join(data, 'rows.json');
  execFileSync(python, ['-m', 'green_code', 'energy', 'export', file], { env: environment });
  return JSON.parse(fs.readFileSync(file, 'utf8'));
}

async function measure(arm, recordings, tools, browserPath, python) {
  let folders;
  let log;
  const workbench = await Workbench.open({
    tools,
    browserPath,
    vsix: path.resolve(options.vsix),
    file: 'start.py',
    text: '"""Start."""\n',
    machineSettings: { 'greenCode.pythonPath': python },
    prepare: (root) => {
      folders = daemonFolders(root);
      // The workbench lists files once, so all must exist before.
      recordings.forEach(({ file, before }) => fs.writeFileSync(path.join(root, 'project', file), before));
      log = path.join(root, 'requests.jsonl');
      return { ...folders.env, PYTHONPATH: [path.join(HERE, 'probe'), path.join(HERE, '../../../daemon')].join(path.delimiter), GREEN_CODE_BENCH: `${arm}:${log}` };
    },
  });
  try {
    await ready({ workbench });
    await workbench.page.evaluate(watch);
    for (const recording of recordings) {
      await replay(workbench, recording);
      console.log(`${arm}: ${recording.file}`);
    }
    const events = await workbench.page.evaluate(() => window.greenCodeEvents);
    const requests = fs.readFileSync(log, 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    return { arm, events, requests, rows: arm === 'instant' ? [] : ledger(folders.data, python) };
  } finally {
    await workbench.close();
    kill(greenCodeProcesses(folders.runtime)); // an engine outlives its front by design
  }
}

const browserPath = chromium();
if (!options.python || !options.vsix || !browserPath) {
  console.error('bench-editor needs --python, --vsix and Chromium (apt-get install chromium, or name one in GREEN_CODE_CHROMIUM)');
  process.exit(1);
}
const tools = install();
const recordings = fs
  .readFileSync(path.join(HERE, 'recordings.jsonl'), 'utf8')
  .trim()
  .split('\n')
  .map((line) => JSON.parse(line))
  .map((recording) => ({ ...recording, keys: recording.keys.slice(0, Number(options.keys)) }));
const results = [];
for (const arm of ARMS) {
  const own = recordings.slice(0, arm === 'instant' ? INSTANT_RECORDINGS : undefined);
  results.push(await measure(arm, own, tools, browserPath, path.resolve(options.python)));
}
const { version } = JSON.parse(fs.readFileSync(path.join(HERE, '../../../package.json'), 'utf8'));
const summary = summarise(results, {
  version,
  date: new Date().toISOString().slice(0, 10),
  machine: `${os.cpus()[0].model.trim()}, ${os.cpus().length} cores, ${os.type()}`,
  files: recordings.length,
});
const compact = JSON.stringify(summary, (_, value) => (typeof value === 'number' ? Number(value.toFixed(2)) : value));
fs.writeFileSync(options.out.replace(/\.md$/, '.json'), `${compact}\n`);
fs.writeFileSync(options.out, page(summary));
const { instant, ours } = summary.arms;
const over = (name) => Math.round(ours.engine[name] - instant.all[name]);
console.log(`per 100 keys: ${ours.flicker_per_100_keys.toFixed(1)} flicker, ${ours.unread_per_100_keys.toFixed(1)} gone unread`);
console.log(`from key to suggestion, over the floor: ${over('p50')} ms at p50, ${over('p95')} ms at p95`);
console.log(`written to ${options.out}`);
