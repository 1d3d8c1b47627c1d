/** Set Up, from the offer to a completion, with its failures. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { greenCodeProcesses, networkSockets, processesFrom } from '../processes.mjs';
import { pattern, start, text } from '../texts.mjs';
import { clickItem, confirmSetUp, figures, ready, storageOf, suggest } from './common.mjs';

/** All packages come from the index, and so does the model. */
const REAL_SETUP_MS = 1_200_000;

const offersSetUp = (context) => until('Set up is offered', async () => (await figures(context)).text.endsWith(text('status.setUp')));

/** Cancels Set Up while pip waits for the index. */
async function cancelSetUp(context) {
  const { workbench, index } = context;
  await index.start({ silent: true });
  await confirmSetUp(workbench);
  await until('pip sends a request to the index', () => index.requests > 0, 60_000);
  await workbench.notification(text('setUp.title')).locator('.monaco-button', { hasText: 'Cancel' }).click();
}

/** The environments in the storage, complete or partial, without the record of the offer. */
const environments = (storage) => fs.readdirSync(storage).filter((name) => !name.startsWith('offered-'));

/** Set Up says how to begin, once. */
async function saysReady({ workbench }) {
  await workbench.notification(text('setUp.ready')).waitFor();
  await workbench.dismissNotifications();
}

/** Answers the question for the first model, which recommends another one. The rest of Set Up is as before. */
async function chooseLight({ workbench }, timeout) {
  const model = workbench.page.locator('.quick-input-widget:visible', { hasText: text('models.firstTitle') });
  await model.waitFor({ timeout });
  const shown = await model.textContent();
  [text('models.light'), text('models.standard'), text('models.recommended')].forEach((part) => assert.ok(shown.includes(part), shown));
  await workbench.choose(text('models.light'), { title: text('models.firstTitle') });
}

/** With the Retry button of the last failure, or with the command. */
async function tryAgain({ workbench }) {
  const retry = workbench.notification(start('setUp.failed')).locator('.monaco-button', { hasText: text('setUp.retry') });
  await ((await retry.isVisible()) ? retry.click() : confirmSetUp(workbench));
}

async function runsFromStorage({ workbench, runtime }) {
  const storage = storageOf(workbench);
  const [pid] = greenCodeProcesses(runtime, 'lsp');
  const command = fs.readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0')[0];
  const [environment, ...others] = environments(storage);
  assert.match(environment, /^venv-[\d.]+-[0-9a-f]{8}$/);
  assert.deepEqual(others, []);
  assert.equal(command, `${storage}/${environment}/bin/python`);
  return environment;
}

function mount(folder) {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=4m', 'green-code-e2e', folder], { stdio: 'ignore' });
    return true;
  } catch {
    return false; // only root may, and not in every container
  }
}

export const steps = [
  {
    name: 'a wrong pythonPath is explained',
    run: async (context) => {
      const { workbench } = context;
      workbench.writeSettings('Machine', { 'greenCode.pythonPath': '/no/such/python' });
      await workbench.notification(start('interpreter.cannotStart')).waitFor({ timeout: 20_000 });
      await until('error', async () => (await figures(context)).label.startsWith(`Green Code. ${text('status.error')}`));
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'without an environment Set Up is offered, and cancelling leaves nothing',
    run: async (context) => {
      const { workbench } = context;
      workbench.writeSettings('Machine', {});
      await offersSetUp(context);
      await workbench.notification(text('setUp.offer')).waitFor({ timeout: 15_000 });
      await clickItem(workbench);
      const dialog = workbench.page.locator('.monaco-dialog-box');
      await dialog.waitFor();
      const consent = await dialog.textContent();
      await workbench.page.keyboard.press('Escape');
      assert.match(consent, pattern('consent.takes')); // download, disk and minutes
      await offersSetUp(context);
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'Set Up fails with the cause where no wheel is packed',
    when: ({ stub }) => stub,
    run: async (context) => {
      const { workbench } = context;
      const bundled = `${workbench.extensionFolder('green-code')}/bundled`;
      fs.rmSync(bundled, { recursive: true, force: true });
      await confirmSetUp(workbench);
      await workbench.notification(text('setUp.noPackageInBuild')).waitFor({ timeout: 20_000 });
      await offersSetUp(context);
      await workbench.dismissNotifications();
      fs.mkdirSync(bundled);
      fs.readdirSync(`${workbench.root}/stub`).forEach((name) => fs.copyFileSync(`${workbench.root}/stub/${name}`, `${bundled}/${name}`));
    },
  },
  {
    name: 'Set Up that is cancelled during the installation leaves nothing',
    when: ({ stub }) => stub,
    run: async (context) => {
      await cancelSetUp(context);
      await offersSetUp(context);
      assert.deepEqual(environments(storageOf(context.workbench)), []);
      assert.deepEqual(processesFrom(storageOf(context.workbench)), []);
    },
  },
  {
    name: 'a full disk is reported before Set Up begins, with folder and need',
    when: ({ stub }) => stub,
    run: async (context) => {
      const { workbench } = context;
      const storage = storageOf(workbench);
      if (!mount(storage)) {
        return 'skipped: no file system could be mounted';
      }
      try {
        await confirmSetUp(workbench);
        const toast = workbench.notification(start('setUp.diskFull'));
        await toast.waitFor({ timeout: 20_000 });
        const shown = await toast.locator('.notification-list-item-message').textContent();
        assert.match(shown, pattern('setUp.diskFull'));
        assert.ok(shown.includes(storage) && shown.includes('0.0 GB'), shown);
        assert.deepEqual(environments(storage), []);
        await offersSetUp(context);
        return shown;
      } finally {
        execFileSync('umount', ['--lazy', storage]);
      }
    },
  },
  {
    name: 'without a network, Set Up reports it and leaves nothing',
    when: ({ stub }) => stub,
    run: async (context) => {
      const { workbench, index } = context;
      await index.stop();
      await tryAgain(context);
      await workbench.notification(text('setUp.offline', { cause: 'Connection refused' })).waitFor({ timeout: 60_000 });
      await offersSetUp(context);
      assert.deepEqual(environments(storageOf(workbench)), []);
    },
  },
  {
    name: 'Retry creates an environment, and completions come from it',
    when: ({ stub }) => stub,
    run: async (context) => {
      await context.index.start();
      await tryAgain(context);
      await chooseLight(context, 60_000);
      await ready(context);
      await saysReady(context);
      await suggest(context);
      return runsFromStorage(context);
    },
  },
  {
    name: 'Set Up again, cancelled, keeps the working environment',
    when: ({ stub }) => stub,
    run: async (context) => {
      const before = await runsFromStorage(context);
      await cancelSetUp(context);
      await ready(context);
      await suggest(context);
      assert.equal(await runsFromStorage(context), before);
    },
  },
  {
    name: 'Set Up installs the packed wheel with everything, and completions come from it',
    when: ({ setUp }) => setUp,
    run: async (context) => {
      fs.unlinkSync(context.cache);
      fs.mkdirSync(context.cache, { mode: 0o700 });
      await confirmSetUp(context.workbench);
      await chooseLight(context, REAL_SETUP_MS);
      await ready(context, REAL_SETUP_MS);
      await saysReady(context);
      await suggest(context);
      return runsFromStorage(context);
    },
  },
  {
    name: 'a correct pythonPath is used without a reload, and neither front nor engine has a network socket',
    when: ({ stub }) => !stub,
    run: async (context) => {
      const { workbench, python, setUp, runtime } = context;
      if (!setUp) {
        workbench.writeSettings('Machine', { 'greenCode.pythonPath': python });
        await ready(context);
        await suggest(context);
      }
      const pids = greenCodeProcesses(runtime);
      assert.ok(pids.length >= 2, pids.join());
      pids.forEach((pid) => assert.deepEqual(networkSockets(pid), [], `process ${pid}`));
      return `${pids.length} processes`;
    },
  },
];
