/** Set Up, from the offer to a completion, with its failures. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { greenCodeProcesses, networkSockets, processesFrom } from '../processes.mjs';
import { confirmSetUp, figures, ITEM, ready, storageOf, suggest, t } from './common.mjs';

/** All packages come from the index, PyTorch and the model among them. */
const REAL_SETUP_MS = 1_200_000;

const offersSetUp = (context) => until('still Set up', async () => (await figures(context)).text.endsWith('Set up'));

/** Cancels Set Up while pip waits for the index. */
async function cancelSetUp(context) {
  const { workbench, index } = context;
  await index.start({ silent: true });
  await confirmSetUp(workbench);
  await until('pip sends a request to the index', () => index.requests > 0, 60_000);
  await context.picture('setting-up');
  await workbench.notification('Setting up Green Code').locator('.monaco-button', { hasText: 'Cancel' }).click();
}

/** The environments in the storage, complete or partial, without the record of the offer. */
const environments = (storage) => fs.readdirSync(storage).filter((name) => !name.startsWith('offered-'));

/** Set Up says how to begin, once. */
async function saysReady(context) {
  await context.workbench.notification(t('setUp.ready')).waitFor({ timeout: 60_000 });
  await context.picture('ready');
  await context.workbench.dismissNotifications();
}

/** With the Retry button of the last failure, or with the command. */
async function tryAgain({ workbench }) {
  const retry = workbench.notification('was not set up').locator('.monaco-button', { hasText: 'Retry' });
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
    name: 'without an environment Set Up is offered, and cancelling leaves nothing',
    run: async (context) => {
      const { workbench } = context;
      workbench.writeSettings('Machine', {});
      await until('Set up', async () => (await figures(context)).text.endsWith('Set up'));
      await workbench.notification(t('setUp.offer')).waitFor({ timeout: 15_000 });
      await workbench.page.locator(`[id="${ITEM}"] a`).first().click();
      const dialog = workbench.page.locator('.monaco-dialog-box');
      await dialog.waitFor();
      assert.match(await dialog.textContent(), /from PyPI.*about \d+ minutes, a download of [\d.]+ [MG]B and [\d.]+ GB of disk space \([\d,.]+ GB are free\)/);
      await context.picture('consent');
      await workbench.page.keyboard.press('Escape');
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
      await workbench.notification(t('setUp.noPackageInBuild')).waitFor({ timeout: 20_000 });
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
        const toast = workbench.notification('Too little disk space');
        await toast.waitFor({ timeout: 20_000 });
        const message = await toast.locator('.notification-list-item-message').textContent();
        assert.ok(message.includes(`disk space in ${storage}: 0.0 GB free`) && message.includes('at least 2.0 GB'), message);
        assert.deepEqual(environments(storage), []);
        await offersSetUp(context);
        return message;
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
      await workbench.notification('The package index cannot be reached (Connection refused)').waitFor({ timeout: 60_000 });
      await context.picture('offline');
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
      await confirmSetUp(context.workbench);
      await ready(context, REAL_SETUP_MS);
      await saysReady(context);
      await suggest(context);
      return runsFromStorage(context);
    },
  },
  {
    name: 'neither front nor engine has a network socket',
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
