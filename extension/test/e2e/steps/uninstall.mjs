/** After an uninstall, only the user's history is left. These are the last steps: they end the workbench. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { greenCodeProcesses, processesFrom } from '../processes.mjs';
import { ITEM, inSecondWindow, ready, storageOf, suggest } from './common.mjs';

async function uninstall(workbench) {
  const { page } = workbench;
  await workbench.command('Extensions: Show Installed Extensions');
  const row = page.locator('.extension-list-item', { hasText: 'Green Code' }).first();
  await row.locator('[aria-label*="Manage"]').first().click();
  await page.locator('.monaco-menu .action-label', { hasText: /^Uninstall$/ }).first().click();
  await until('it is marked for removal', () => fs.existsSync(`${workbench.root}/extensions/.obsolete`));
}

/** Unsaved text would stop the reload. */
const revert = (workbench) => workbench.command('File: Revert File');

/** Reloads the window, now without the extension. */
async function reload(workbench) {
  await workbench.page.reload();
  await workbench.editor().locator('.view-line').first().waitFor({ timeout: 60_000 });
  assert.equal(await workbench.status(ITEM), null);
}

export const steps = [
  {
    name: 'after an uninstall, the front ends with the window',
    when: ({ stub }) => stub,
    run: async ({ workbench, runtime }) => {
      await revert(workbench);
      await uninstall(workbench);
      await reload(workbench);
      await until('no front left', () => greenCodeProcesses(runtime, 'lsp').length === 0);
    },
  },
  {
    name: 'a second window shares the engine, and keeps it after an uninstall in the first, whose front ends with it',
    when: ({ stub }) => !stub,
    run: async (context) => {
      const { workbench, runtime } = context;
      const engines = greenCodeProcesses(runtime, 'engine');
      await revert(workbench);
      await inSecondWindow(context, async (first) => {
        await ready(context);
        await until('a front of its own', () => greenCodeProcesses(runtime, 'lsp').length === 2);
        assert.deepEqual(greenCodeProcesses(runtime, 'engine'), engines);
        const second = workbench.page;
        workbench.page = first;
        await uninstall(workbench);
        workbench.page = second;
        await first.reload();
        await until('one front left', () => greenCodeProcesses(runtime, 'lsp').length === 1);
        await suggest(context);
        assert.deepEqual(greenCodeProcesses(runtime, 'engine'), engines);
        await revert(workbench);
        await reload(workbench);
      });
      await until('no front left', () => greenCodeProcesses(runtime, 'lsp').length === 0);
    },
  },
  {
    name: 'the next start of VS Code ends the engines and removes the environment, and the history stays',
    run: async ({ workbench, runtime, stub }) => {
      const storage = storageOf(workbench);
      const folder = workbench.extensionFolder('green-code');
      const engines = greenCodeProcesses(runtime, 'engine');
      await workbench.stopServer();
      await workbench.startServer();
      await workbench.visit();
      await until('the storage is removed', () => !fs.existsSync(storage));
      await until('the extension is removed', () => !fs.existsSync(folder));
      await until('no process is left', () => greenCodeProcesses(runtime).length === 0 && processesFrom(storage).length === 0);
      if (stub) {
        assert.ok(fs.existsSync(`${runtime}/stub-stopped`), 'no engine was asked to stop');
        return '';
      }
      assert.ok(fs.existsSync(`${workbench.root}/data/energy.sqlite3`));
      return `engines ended: ${engines.join()}`;
    },
  },
];
