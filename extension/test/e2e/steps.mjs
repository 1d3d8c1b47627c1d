/** The steps of the end-to-end test, in order. A step throws, or returns a detail worth printing. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from './harness.mjs';
import { greenCodeProcesses, kill } from './processes.mjs';

const ITEM = 'green-code.green-code.status';
/** Another job may have the processor: a first model load takes minutes, a completion seconds. */
const READY_MS = 180_000;
const COMPLETION_MS = 60_000;

/** The figures of the status item, from what a screen reader is told. */
async function figures({ workbench }) {
  const { text, label } = (await workbench.status(ITEM)) ?? { text: '', label: '' };
  const saved = /Today: (\u2212?)([\d.]+) (mJ|J|kJ) saved/.exec(label);
  const unit = { mJ: 0.001, J: 1, kJ: 1000 }[saved?.[3]];
  const layers = /Last completion: ([\d.]+) of (\d+) layers/.exec(label);
  return {
    text,
    label,
    completions: Number(/(\d+) completions?\./.exec(label)?.[1] ?? 0),
    savedJoules: saved ? Number(saved[2]) * unit * (saved[1] ? -1 : 1) : null,
    layers: layers ? Number(layers[1]) : null,
    layersTotal: layers ? Number(layers[2]) : null,
  };
}

const ready = (context, timeoutMs = READY_MS) =>
  until('the status item is ready', async () => (await figures(context)).label.startsWith('Green Code. Ready'), timeoutMs);

/** What the test writes, one function at a time: plain enough that a small model knows how each of them ends. */
const FUNCTIONS = [
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

/** The head of the next function, up to `return`. A name is never used twice, so nothing answers from memory. */
async function typeHead(workbench) {
  const [name, parameters] = FUNCTIONS[written % FUNCTIONS.length];
  const round = Math.floor(written / FUNCTIONS.length);
  written += 1;
  await workbench.newLine();
  await workbench.type(`\n\ndef ${name}${round === 0 ? '' : `_${round + 1}`}(${parameters}):\n    return`);
  return parameters;
}

/** Types a function's head, and accepts what is suggested: the file stays one that a model can go on from. */
async function suggest({ workbench }, beforeTab = () => undefined) {
  const parameters = await typeHead(workbench);
  await ghostOrAsk(workbench, ` ${parameters.slice(0, 3)}`);
  const ghost = await workbench.ghost();
  await beforeTab();
  await workbench.page.keyboard.press('Tab');
  return ghost;
}

/** Suggestions come by themselves; where the model had nothing to say at this key, the next ones ask again. */
async function ghostOrAsk(workbench, more) {
  try {
    await workbench.waitForGhost(COMPLETION_MS / 3);
  } catch {
    await workbench.type(more);
    await workbench.waitForGhost(COMPLETION_MS);
  }
}

/** A completion, and the figures once they have followed (at most one update a second). */
async function completeAndRead(context) {
  const before = await figures(context);
  await suggest(context);
  let last = before;
  return until(
    'the figures of the completion arrive',
    async () => {
      const now = await figures(context);
      const settled = now.completions > before.completions && now.label === last.label;
      last = now;
      await context.workbench.page.waitForTimeout(1200);
      return settled ? now : null;
    },
    COMPLETION_MS,
  );
}

async function slideTo(context, value) {
  const { workbench } = context;
  const frame = await workbench.webview('#threshold');
  await frame.locator('#threshold').fill(String(value));
  await until(`settings.json has threshold ${value}`, () => workbench.userSetting('greenCode.threshold') === value);
  assert.equal(await frame.locator('#value').textContent(), value.toFixed(2));
  return frame;
}

/** Kills, waits until the processes are gone and another has come, and completes again. */
async function killAndComplete(context, what) {
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

async function confirmSetUp(workbench) {
  await workbench.command('Green Code: Set Up');
  await workbench.page.locator('.monaco-dialog-box .monaco-button', { hasText: 'Set Up' }).click();
}

export const steps = [
  {
    name: 'the status item becomes ready',
    essential: true,
    run: async (context) => {
      await ready(context);
      return (await figures(context)).text;
    },
  },
  {
    name: 'typing shows a suggestion, Tab accepts it, and the saved file has it',
    run: async (context) => {
      const { workbench } = context;
      context.notes.before = await figures(context);
      const ghost = await suggest(context, () => context.picture('ghost'));
      const text = await workbench.saved();
      assert.ok(ghost.trim() !== '' && text.replace(/\r\n/g, '\n').includes(ghost.split('\n')[0]), `no ${JSON.stringify(ghost)} in ${JSON.stringify(text)}`);
      return JSON.stringify(ghost);
    },
  },
  {
    name: 'the status item counts completions and joules',
    run: async (context) => {
      const after = await until('more completions', async () => {
        const now = await figures(context);
        return now.completions > context.notes.before.completions ? now : null;
      });
      assert.notEqual(after.savedJoules, null, after.label);
      assert.match(after.text, /% saved/);
      return after.label;
    },
  },
  {
    name: 'the tooltip has the details',
    run: async ({ workbench, picture }) => {
      await workbench.page.locator(`[id="${ITEM}"] a`).first().hover();
      const tooltip = workbench.page.locator('.monaco-hover', { hasText: 'Layers per token' });
      await tooltip.waitFor({ timeout: 10_000 });
      await picture('tooltip');
      const text = await tooltip.textContent();
      for (const part of ['Today', 'Session', 'Last completion', 'Threshold 0.90', 'exact decoding', 'Energy Report']) {
        assert.ok(text.includes(part), `no ${part} in ${text}`);
      }
      await workbench.page.mouse.move(600, 300);
    },
  },
  {
    name: 'Set Threshold opens the slider',
    run: async ({ workbench }) => {
      await workbench.command('Green Code: Set Threshold');
      const frame = await workbench.webview('#threshold');
      await until('the slider shows the setting', async () => (await frame.locator('#value').textContent()) === '0.90');
      const name = await frame.locator('#threshold').evaluate((slider) => slider.labels[0].textContent);
      assert.equal(name, 'Exit threshold');
    },
  },
  {
    name: 'the slider says that it acts in fast decoding, and sets that',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await frame.locator('#unused', { hasText: 'Decoding is exact' }).waitFor();
      await frame.locator('#use-fast').click();
      await until('settings.json has fast decoding', () => workbench.userSetting('greenCode.decoding') === 'fast');
      await frame.locator('#unused').waitFor({ state: 'hidden' });
    },
  },
  {
    name: 'at threshold 1 every layer runs',
    run: async (context) => {
      const frame = await slideTo(context, 1);
      const after = await completeAndRead(context);
      assert.equal(after.layers, after.layersTotal, after.label);
      await until('the view follows', async () =>
        (await frame.locator('#summary').textContent()).startsWith(`${after.layersTotal}.0 of ${after.layersTotal} layers`));
      return `${after.layers} of ${after.layersTotal}`;
    },
  },
  {
    name: 'at threshold 0.5 fewer layers run, without a restart',
    run: async (context) => {
      const fronts = greenCodeProcesses(context.runtime, 'lsp');
      const frame = await slideTo(context, 0.5);
      let after = await completeAndRead(context);
      for (let attempt = 1; attempt < 4 && after.layers === after.layersTotal; attempt += 1) {
        after = await completeAndRead(context); // the agent may find one completion hard, not four
      }
      assert.ok(after.layers < after.layersTotal, after.label);
      assert.deepEqual(greenCodeProcesses(context.runtime, 'lsp'), fronts);
      await until('the view follows', async () => (await frame.locator('#summary').textContent()).startsWith(after.layers.toFixed(1)));
      return `${after.layers} of ${after.layersTotal}`;
    },
  },
  {
    name: 'the slider obeys the keyboard',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await frame.locator('#threshold').press('ArrowRight');
      await until('one step', () => workbench.userSetting('greenCode.threshold') === 0.51);
    },
  },
  {
    name: 'the named stops of the bundle are buttons and rows',
    when: ({ stub }) => stub,
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      const saver = frame.locator('#stops button', { hasText: 'Saver' });
      await saver.click();
      await until('settings.json has the stop', () => workbench.userSetting('greenCode.threshold') === 0.6);
      assert.equal(await saver.getAttribute('aria-pressed'), 'true');
      const here = 'Cold completions of held-out code: 30% of energy saved, 94% of full depth\'s quality kept.';
      assert.equal(await frame.locator('#here').textContent(), here);
      assert.equal(await frame.locator('#threshold').getAttribute('aria-valuetext'), `0.60. ${here}`);
      assert.equal(await frame.locator('#curve circle').count(), 5); // three thresholds, full depth, and where we are
      await workbench.command('Green Code: Set Threshold (Quick Pick)');
      await workbench.choose('Quality', { title: 'Green Code: Threshold' });
      await until('settings.json has the other', () => workbench.userSetting('greenCode.threshold') === 0.95);
      await frame.locator('#stops button[aria-pressed=true]', { hasText: 'Quality' }).waitFor();
    },
  },
  {
    name: 'the quick pick sets a number, refuses a wrong one, and the slider follows',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await workbench.command('Green Code: Set Threshold (Quick Pick)');
      await workbench.choose('Enter a number', { title: 'Green Code: Threshold' });
      await workbench.enter('7', 'A number between');
      await workbench.page.locator('.quick-input-message', { hasText: 'outside the range' }).waitFor();
      await workbench.enter('0.75', 'outside the range');
      await until('settings.json has 0.75', () => workbench.userSetting('greenCode.threshold') === 0.75);
      await until('the slider follows', async () => (await frame.locator('#threshold').inputValue()) === '0.75');
    },
  },
  {
    name: 'the quick pick sets full depth',
    run: async (context) => {
      const { workbench } = context;
      await workbench.command('Green Code: Set Threshold (Quick Pick)');
      await workbench.choose('Full depth', { title: 'Green Code: Threshold' });
      await until('settings.json has 1', () => workbench.userSetting('greenCode.threshold') === 1);
      const after = await completeAndRead(context);
      assert.equal(after.layers, after.layersTotal, after.label);
    },
  },
  {
    name: 'Show Layers draws the last completion',
    run: async ({ workbench }) => {
      await workbench.command('Green Code: Show Layers');
      await workbench.page.locator('.monaco-editor[data-uri*="Layers.txt"] .view-line', { hasText: '█' }).first().waitFor({ timeout: 20_000 });
    },
  },
  {
    name: 'the energy report opens',
    run: async ({ workbench, picture, stub }) => {
      await workbench.command('Green Code: Energy Report');
      const frame = await workbench.webview('h1');
      assert.equal(await frame.locator('h1').textContent(), 'Energy Report');
      await frame.locator('th[scope=row]', { hasText: 'python' }).waitFor({ timeout: 10_000 });
      const today = await frame.locator('tr', { hasText: 'Today' }).locator('td').allTextContents();
      assert.ok(Number(today[6]) >= 1, `nothing accepted: ${today.join(' | ')}`);
      await until('the charts are drawn', () =>
        frame.locator('canvas').evaluateAll((all) => all.length === 2 && all.every((canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean))));
      await picture('report');
      if (stub) {
        await workbench.command('View: Close Editor'); // otherwise the next step needs it, and closes it
      }
    },
  },
  {
    name: 'the history is exported from the report, and deleted once confirmed',
    when: ({ stub }) => !stub,
    run: async (context) => {
      const { workbench } = context;
      const frame = await workbench.webview('h1');
      const file = `${workbench.folder}/history.csv`;
      await frame.locator('button', { hasText: 'Export' }).click();
      await workbench.enter(file, 'Export Energy History');
      const lines = await until('the file is written', () => (fs.existsSync(file) ? fs.readFileSync(file, 'utf8').trim().split('\n') : null));
      assert.match(lines[0], /^id,time,language,model,/);
      assert.ok(lines.length > 1 && !lines.join().includes('return'), lines.join());
      await workbench.dismissNotifications();
      await frame.locator('button', { hasText: 'Delete History' }).click();
      await workbench.page.locator('.monaco-dialog-box .monaco-button', { hasText: 'Delete' }).click();
      const again = await until('the report is empty', async () => {
        const shown = await workbench.webview('h1');
        return (await shown.locator('.lead').textContent()).includes('No completion today yet') ? shown : null;
      });
      assert.equal(await again.locator('canvas').count(), 0);
      await until('the status item has forgotten', async () => (await figures(context)).text.endsWith('Green Code'));
      await workbench.command('View: Close Editor');
      return `${lines.length - 1} completions`;
    },
  },
  {
    name: 'Why No Suggestion? explains',
    run: async ({ workbench }) => {
      await workbench.command('Green Code: Why No Suggestion?');
      const toast = workbench.page.locator('.notification-list-item', { hasText: 'Show Log' }).first();
      await toast.waitFor({ timeout: 15_000 });
      const text = await toast.locator('.notification-list-item-message').textContent();
      await workbench.dismissNotifications();
      return text;
    },
  },
  {
    name: 'Diagnose shows what doctor finds, and offers to copy it',
    run: async ({ workbench }) => {
      await workbench.command('Green Code: Diagnose');
      const line = workbench.page.locator('.monaco-editor[data-uri*="Diagnosis.txt"] .view-line', { hasText: /ok|warn|fail/ }).first();
      await line.waitFor({ timeout: READY_MS });
      await workbench.notification('The diagnosis is open').locator('.monaco-button', { hasText: 'Copy' }).waitFor();
      await workbench.dismissNotifications();
      return line.textContent();
    },
  },
  {
    name: 'Toggle switches off and on again',
    run: async (context) => {
      const { workbench } = context;
      await workbench.command('Green Code: Toggle');
      await until('Off', async () => (await figures(context)).text.endsWith('Off'));
      await typeHead(workbench);
      await assert.rejects(workbench.waitForGhost(2500), 'a suggestion although switched off');
      await workbench.type(' 0');
      await workbench.command('Green Code: Toggle');
      await ready(context);
      await suggest(context);
    },
  },
  {
    name: 'the status item opens the menu',
    run: async ({ workbench, picture }) => {
      await workbench.page.locator(`[id="${ITEM}"] a`).first().click();
      await workbench.page.locator('.quick-input-list .monaco-list-row', { hasText: 'Energy Report' }).waitFor();
      await picture('menu');
      await workbench.page.keyboard.press('Escape');
    },
  },
  {
    name: 'a Java file gets suggestions too',
    run: async (context) => {
      const { workbench } = context;
      const python = workbench.file;
      await workbench.openFile('Shapes.java', 'class Shapes {\n    static int square(int side) {\n        return side * side;\n    }\n');
      await workbench.newLine();
      await workbench.type('    static int rectangle(int width, int height) {\n        return');
      await ghostOrAsk(workbench, ' wid');
      const ghost = await workbench.ghost();
      await workbench.saved();
      await workbench.command('View: Close Editor');
      workbench.file = python;
      return JSON.stringify(ghost);
    },
  },
  {
    name: 'a killed engine comes back',
    when: ({ stub }) => !stub,
    run: (context) => killAndComplete(context, 'engine'),
  },
  {
    name: 'a killed language server comes back',
    run: (context) => killAndComplete(context, 'lsp'),
  },
  {
    name: 'Restart Engine leaves a ready one',
    run: async (context) => {
      await context.workbench.command('Green Code: Restart Engine');
      await ready(context);
      await suggest(context);
    },
  },
  {
    name: 'an engine that fails shows in the status item, with its cause',
    when: ({ stub }) => stub,
    run: async (context) => {
      fs.writeFileSync(`${context.runtime}/stub-fails`, '');
      kill(greenCodeProcesses(context.runtime, 'lsp'));
      await until('error', async () => (await figures(context)).label.startsWith('Green Code. Error: the stub was told to fail'));
      fs.rmSync(`${context.runtime}/stub-fails`);
      kill(greenCodeProcesses(context.runtime, 'lsp'));
      await ready(context);
    },
  },
  {
    name: 'a wrong pythonPath is explained, and a right one is taken without a reload',
    run: async (context) => {
      const { workbench, python } = context;
      workbench.writeSettings('Machine', { 'greenCode.pythonPath': '/no/such/python' });
      await workbench.notification('it cannot be started').waitFor({ timeout: 20_000 });
      await until('error', async () => (await figures(context)).label.startsWith('Green Code. Error'));
      workbench.writeSettings('Machine', { 'greenCode.pythonPath': python });
      await ready(context);
      await workbench.dismissNotifications();
      await suggest(context);
    },
  },
  {
    name: 'a file of another language hides the status item, Python shows it again',
    run: async (context) => {
      const { workbench } = context;
      await workbench.command('File: New Untitled Text File');
      await until('hidden', async () => (await workbench.status(ITEM)) === null);
      await workbench.command('View: Close Editor');
      await until('shown', async () => (await workbench.status(ITEM)) !== null);
    },
  },
  {
    name: 'without an environment it offers to set up, and cancel leaves nothing',
    run: async (context) => {
      const { workbench } = context;
      workbench.writeSettings('Machine', {});
      await until('Set up', async () => (await figures(context)).text.endsWith('Set up'));
      await workbench.notification('needs its Python packages').waitFor({ timeout: 15_000 });
      await workbench.page.locator(`[id="${ITEM}"] a`).first().click();
      const dialog = workbench.page.locator('.monaco-dialog-box');
      await dialog.waitFor();
      assert.match(await dialog.textContent(), /PyTorch \(0\.2–3 GB.*250 MB\) from PyPI/);
      await context.picture('consent');
      await workbench.page.keyboard.press('Escape');
      await until('still Set up', async () => (await figures(context)).text.endsWith('Set up'));
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'Set Up fails with its cause where no wheel is packed',
    when: ({ stub }) => stub,
    run: async (context) => {
      const { workbench } = context;
      fs.rmSync(`${workbench.extensionFolder('green-code')}/bundled`, { recursive: true, force: true });
      await confirmSetUp(workbench);
      const toast = workbench.notification('carries no Python package');
      await toast.waitFor({ timeout: 20_000 });
      await until('still Set up', async () => (await figures(context)).text.endsWith('Set up'));
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'Set Up makes an environment, and completions come from it',
    when: ({ stub }) => stub,
    run: async (context) => {
      const { workbench } = context;
      const bundled = `${workbench.extensionFolder('green-code')}/bundled`;
      fs.mkdirSync(bundled);
      fs.readdirSync(`${workbench.root}/stub`).forEach((name) => fs.copyFileSync(`${workbench.root}/stub/${name}`, `${bundled}/${name}`));
      await confirmSetUp(workbench);
      await ready(context);
      await suggest(context);
      const storage = `${workbench.profile}/User/globalStorage/green-code.green-code`;
      const [pid] = greenCodeProcesses(context.runtime, 'lsp');
      const command = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0];
      const [environment, ...others] = fs.readdirSync(storage);
      assert.match(environment, /^venv-[\d.]+-[0-9a-f]{8}$/);
      assert.deepEqual(others, []);
      assert.equal(command, `${storage}/${environment}/bin/python`);
    },
  },
];
