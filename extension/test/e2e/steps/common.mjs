/** Shared by the steps: the visible figures, and code that a small model can continue. */
import assert from 'node:assert/strict';

import texts from '../../../l10n/texts.json' with { type: 'json' };
import { until } from '../harness.mjs';
import { greenCodeProcesses, kill } from '../processes.mjs';

export const ITEM = 'green-code.green-code.status';
/** For a busy machine, where a first model load takes minutes and a completion seconds. */
export const READY_MS = 600_000;
export const COMPLETION_MS = 60_000;

/** A text of the extension in English. A step uses it where the wording is not the point. */
export const t = (id, values = {}) => texts[id].en.replace(/\{(\w+)\}/g, (placeholder, name) => values[name] ?? placeholder);
export const title = (command) => `Green Code: ${t(`manifest.command.${command}`)}`;

/** The figures of the status item, from its label for screen readers. */
export async function figures({ workbench }) {
  const { text, label } = (await workbench.status(ITEM)) ?? { text: '', label: '' };
  const saved = /Today: (\u2212?)([\d.]+) (mJ|J|kJ) saved/.exec(label);
  const unit = { mJ: 0.001, J: 1, kJ: 1000 }[saved?.[3]];
  const layers = /Last suggestion: ([\d.]+) of (\d+) layers/.exec(label);
  return {
    text,
    label,
    completions: Number(/over (\d+) suggestions?,/.exec(label)?.[1] ?? 0),
    savedJoules: saved ? Number(saved[2]) * unit * (saved[1] ? -1 : 1) : null,
    layers: layers ? Number(layers[1]) : null,
    layersTotal: layers ? Number(layers[2]) : null,
  };
}

export const ready = (context, timeoutMs = READY_MS) =>
  until('the status item is ready', async () => (await figures(context)).label.startsWith('Green Code. Ready'), timeoutMs);

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

/** Types the head of the next function, up to `return`. No name is used twice, so no cached suggestion fits. */
export async function typeHead(workbench) {
  const [name, parameters] = FUNCTIONS[written % FUNCTIONS.length];
  const round = Math.floor(written / FUNCTIONS.length);
  written += 1;
  await workbench.newLine();
  await workbench.type(`\n\ndef ${name}${round === 0 ? '' : `_${round + 1}`}(${parameters}):\n    return`);
}

/** Types a function's head and accepts the suggestion, so that the model can continue the file. */
export async function suggest({ workbench }, beforeTab = () => undefined) {
  await typeHead(workbench);
  await ghostOrAsk(workbench);
  const ghost = await workbench.ghost();
  await beforeTab();
  await workbench.page.keyboard.press('Tab');
  return ghost;
}

/** Trigger Inline Suggestion: this always asks, and at full length. */
export const ask = (workbench) => workbench.page.keyboard.press('Alt+Backslash');

/** Waits for a suggestion. Where the model was not sure enough of one, asks for it. */
export async function ghostOrAsk(workbench) {
  try {
    await workbench.waitForGhost(COMPLETION_MS / 3);
  } catch {
    await ask(workbench);
    await workbench.waitForGhost(COMPLETION_MS);
  }
}

/** Makes a completion, and returns the figures once they are updated (at most once a second). */
export async function completeAndRead(context) {
  const before = await figures(context);
  await suggest(context);
  let last = before;
  return until(
    'the figures of the completion arrive',
    async () => {
      const now = await figures(context);
      const isStable = now.completions > before.completions && now.label === last.label;
      last = now;
      await context.workbench.page.waitForTimeout(1200);
      return isStable ? now : null;
    },
    COMPLETION_MS,
  );
}

/** The threshold view, with the exit threshold unfolded. */
export async function advanced(workbench) {
  const frame = await workbench.webview('#threshold');
  if (!(await frame.locator('#threshold').isVisible())) {
    await frame.locator('#advanced > summary').click();
  }
  return frame;
}

export async function slideTo(context, value) {
  const { workbench } = context;
  const frame = await advanced(workbench);
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
  kill(before);
  await suggest(context);
  await until(`another ${what} runs`, () => greenCodeProcesses(context.runtime, what).some((pid) => !before.includes(pid)), COMPLETION_MS);
  await ready(context);
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
  await workbench.command('Green Code: Set Up');
  await workbench.page.locator('.monaco-dialog-box .monaco-button', { hasText: 'Set Up' }).click();
}
