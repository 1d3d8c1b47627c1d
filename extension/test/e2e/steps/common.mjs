/** Shared by the steps: the visible figures, and code that a small model can continue. */
import assert from 'node:assert/strict';

import { until } from '../harness.mjs';
import { greenCodeProcesses, kill } from '../processes.mjs';
import { commandTitle, pattern, text } from '../texts.mjs';

export const ITEM = 'green-code.green-code.status';
/** For a busy machine, where a first model load takes minutes, a further one a part of that, and a completion seconds. */
export const FIRST_READY_MS = 600_000;
export const READY_MS = 120_000;
export const COMPLETION_MS = 60_000;

/** Clicks the status item. The pointer does not stay there, where it would open the tooltip. */
export async function clickItem({ page }) {
  await page.locator(`[id="${ITEM}"] a`).first().click();
  await page.mouse.move(600, 300);
}

/** Runs one of Green Code's commands from the command palette. */
export const invoke = (workbench, name) => workbench.command(commandTitle(name));

const SAVED = /^(\u2212?)([\d.]+)\s(mJ|J|kJ)$/;
const JOULES = { mJ: 0.001, J: 1, kJ: 1000 };

/** The figures of the status item, from its label for screen readers. */
export async function figures({ workbench }) {
  const { text: shown, label } = (await workbench.status(ITEM)) ?? { text: '', label: '' };
  const today = pattern('status.today').source.replace('(?<figures>.+?)', '');
  const totals = ['figures.today', 'figures.todayOne'].map((id) => label.match(new RegExp(today + pattern(id).source))?.groups).find(Boolean);
  const saved = SAVED.exec(totals?.saved ?? '');
  const layers = label.match(pattern('status.lastCompletionLabel'))?.groups;
  return {
    text: shown,
    label,
    completions: Number(totals?.count.replaceAll(',', '') ?? 0),
    savedJoules: saved ? Number(saved[2]) * JOULES[saved[3]] * (saved[1] ? -1 : 1) : null,
    layers: layers ? Number(layers.average) : null,
    layersTotal: layers ? Number(layers.total) : null,
  };
}

const isReady = (label) => label.startsWith(`Green Code. ${text('status.ready')}`);

export const ready = (context, timeoutMs = READY_MS) =>
  until('the status item is ready', async () => isReady((await figures(context)).label), timeoutMs);

/** Other settings for a while. Editor and front have taken them when `work` begins, and the former ones when this ends. */
export async function withSettings(context, settings, work) {
  await changeSettings(context, settings);
  try {
    return await work();
  } finally {
    await changeSettings(context, Object.fromEntries(Object.keys(settings).map((name) => [name, undefined])));
  }
}

let changes = 0;

/** The editor reads a changed file some time later: the last glob of excludedFiles shows in the front's log when it has. */
export async function changeSettings({ workbench, front }, settings) {
  changes += 1;
  const excluded = `**/change-${changes}`;
  const mark = front.mark();
  workbench.changeSettings({ ...settings, 'greenCode.excludedFiles': [excluded] });
  await front.next('the front has the settings', mark, (event) => event.settings?.excludedFiles?.includes(excluded), COMPLETION_MS);
}

/** What the test types, one function at a time: simple enough for a small model to complete. */
export const FUNCTIONS = [
  ['rectangle_area', 'width, height'],
  ['triangle_area', 'base, height'],
  ['box_volume', 'width, height, depth'],
  ['square_perimeter', 'side'],
  ['rectangle_perimeter', 'width, height'],
  ['cube_volume', 'side'],
  ['circle_perimeter', 'radius'],
  ['cylinder_volume', 'radius, height'],
  ['parallelogram_area', 'base, height'],
  ['pyramid_volume', 'base_area, height'],
];
let written = 0;

/** Types the head of the next function, up to `return`. No name is used twice, so no cached suggestion fits. Returns the log's mark. */
export async function typeHead({ workbench, front }) {
  const [name, parameters] = FUNCTIONS[written % FUNCTIONS.length];
  const round = Math.floor(written / FUNCTIONS.length);
  written += 1;
  await workbench.newLine();
  await workbench.insert(`\n\ndef ${name}${round === 0 ? '' : `_${round + 1}`}(${parameters}):\n    `);
  const mark = front.mark();
  await workbench.type('return');
  return mark;
}

/** Types a function's head and accepts the suggestion, so that the model can continue the file. */
export async function suggest(context) {
  const { workbench } = context;
  await ghostOrAsk(context, await typeHead(context), '    return');
  const ghost = await workbench.ghost();
  await workbench.page.keyboard.press('Tab');
  return ghost;
}

/** Trigger Inline Suggestion: this always asks, and at full length. */
export const ask = (workbench) => workbench.page.keyboard.press('Alt+Backslash');

/** Waits until the front has answered the editor's own request behind a line's text, and returns what: null is nothing. */
export const answerBehind = ({ front }, mark, line) =>
  front.next('an answer', mark, (event) => 'answered' in event && event.automatic && event.units === line.length, COMPLETION_MS);

/** Asks, and waits until the front has answered. */
export async function answerByHand({ workbench, front }) {
  const mark = front.mark();
  await ask(workbench);
  return front.next('an answer', mark, (event) => 'answered' in event && !event.automatic, COMPLETION_MS);
}

/** Waits for a suggestion behind a line that was typed. Where the model was not sure enough of one, asks for it. */
export async function ghostOrAsk(context, mark, line) {
  const { workbench, front } = context;
  const isAnswered = () => front.events(mark).some((event) => event.answered === null && event.units === line.length);
  await until('an answer', async () => (await workbench.hasGhost()) || isAnswered(), COMPLETION_MS / 3).catch(() => undefined);
  if (!(await workbench.hasGhost())) {
    await ask(workbench);
    await workbench.waitForGhost(COMPLETION_MS);
  }
}

/** Makes a completion, and returns the figures once they are this completion's (they follow at most once a second). */
export async function completeAndRead(context) {
  const { front } = context;
  const mark = front.mark();
  const before = await figures(context);
  await suggest(context);
  return until(
    'the figures of the completion arrive',
    async () => {
      const now = await figures(context);
      const exits = front.events(mark).findLast((event) => event.exits?.length > 0)?.exits;
      const mean = exits && exits.reduce((sum, layers) => sum + layers, 0) / exits.length;
      return now.completions > before.completions && now.layers === Number(mean?.toFixed(1)) ? now : null;
    },
    COMPLETION_MS,
  );
}

export async function slideTo(context, value) {
  const { workbench } = context;
  const frame = await workbench.webview('#threshold');
  await frame.locator('#threshold').fill(String(value));
  await until(`settings.json has threshold ${value}`, () => workbench.userSetting('greenCode.threshold') === value);
  assert.equal(await frame.locator('#value').textContent(), value.toFixed(2));
  return frame;
}

/** Kills the processes, waits for new ones, and completes again. */
export async function killAndComplete(context, what) {
  const before = await until(`a ${what} runs`, () => {
    const found = greenCodeProcesses(context.runtime, what);
    return found.length > 0 ? found : null;
  });
  const another = async () => {
    await until(`another ${what} runs`, () => greenCodeProcesses(context.runtime, what).some((pid) => !before.includes(pid)), COMPLETION_MS);
    await ready(context);
  };
  kill(before);
  if (what === 'lsp') {
    await another(); // nobody answers before; a front repeats what an engine's end has interrupted
  }
  await suggest(context);
  await another();
  return `${what} ${before.join(', ')} killed`;
}

/** Works in another window of the same folder, then closes it. `work` receives the first window's page. */
export async function inSecondWindow({ workbench }, work) {
  const first = workbench.page;
  const second = await workbench.browser.newPage({ viewport: first.viewportSize() });
  workbench.page = second;
  try {
    await second.goto(first.url());
    await workbench.editor().locator('.view-line').first().waitFor({ timeout: 60_000 });
    await work(first);
  } finally {
    await second.close();
    workbench.page = first;
  }
}

/** The folder of the managed environments. */
export const storageOf = (workbench) => `${workbench.profile}/User/globalStorage/green-code.green-code`;

export async function confirmSetUp(workbench) {
  await invoke(workbench, 'setUp');
  await workbench.page.locator('.monaco-dialog-box .monaco-button', { hasText: text('setUp.setUp') }).click();
}
