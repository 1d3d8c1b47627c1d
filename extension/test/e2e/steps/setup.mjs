/** Set Up, from the offer to a completion. A step throws, or returns a detail worth printing. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { greenCodeProcesses } from '../processes.mjs';
import { confirmSetUp, figures, ITEM, ready, suggest } from './common.mjs';

export const steps = [
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
