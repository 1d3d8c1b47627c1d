/** Reloads, second windows, killed processes and wrong settings. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { greenCodeProcesses, kill } from '../processes.mjs';
import { figures, inSecondWindow, ITEM, killAndComplete, ready, suggest } from './common.mjs';

export const steps = [
  {
    name: 'a reloaded window completes again',
    run: async (context) => {
      const { workbench } = context;
      await workbench.saved();
      await workbench.page.reload();
      await workbench.editor().locator('.view-line').first().waitFor({ timeout: 60_000 });
      await ready(context);
      await suggest(context);
    },
  },
  {
    name: 'a second window shares the engine',
    when: ({ stub }) => !stub,
    run: async (context) => {
      const { runtime } = context;
      const [engine] = greenCodeProcesses(runtime, 'engine');
      const fronts = greenCodeProcesses(runtime, 'lsp').length;
      await inSecondWindow(context, async () => {
        await ready(context);
        await until('a front of its own', () => greenCodeProcesses(runtime, 'lsp').length > fronts);
        assert.deepEqual(greenCodeProcesses(runtime, 'engine'), [engine]);
      });
      await suggest(context);
      return `engine ${engine}`;
    },
  },
  {
    name: 'a killed engine is restarted',
    when: ({ stub }) => !stub,
    run: (context) => killAndComplete(context, 'engine'),
  },
  {
    name: 'a killed language server is restarted',
    run: (context) => killAndComplete(context, 'lsp'),
  },
  {
    name: 'Restart Engine leads to a ready engine',
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
    name: 'a wrong pythonPath is explained, and a correct one is used without a reload',
    run: async (context) => {
      const { workbench, python } = context;
      workbench.writeSettings('Machine', { 'greenCode.pythonPath': '/no/such/python' });
      await workbench.notification('does not start').waitFor({ timeout: 20_000 });
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
];
