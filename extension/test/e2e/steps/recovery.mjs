/** Reloads, second windows, killed processes and wrong settings. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { greenCodeProcesses, kill } from '../processes.mjs';
import { text } from '../texts.mjs';
import { figures, invoke, killAndComplete, ready, suggest } from './common.mjs';

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
      assert.equal(await workbench.notification(text('hints.keys')).count(), 0, 'the keys are explained again');
    },
  },
  {
    name: 'the walkthrough ticks what was done before it was opened, also before the reload',
    run: async ({ workbench }) => {
      await workbench.command('Welcome: Open Walkthrough...');
      await workbench.choose(text('manifest.walkthrough.title'));
      try {
        const ticked = workbench.page.locator('.getting-started-step [role=checkbox][aria-checked=true]');
        await until('set up, completed, threshold and report', async () => (await ticked.count()) >= 4);
      } finally {
        await workbench.command('View: Close Editor');
      }
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
      const engines = greenCodeProcesses(context.runtime, 'engine');
      await invoke(context.workbench, 'restartEngine');
      await until('the engine ends', () => greenCodeProcesses(context.runtime, 'engine').every((pid) => !engines.includes(pid)));
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
      await until('error', async () => (await figures(context)).label.startsWith(`Green Code. ${text('status.error')}: the stub was told to fail`));
      fs.rmSync(`${context.runtime}/stub-fails`);
      kill(greenCodeProcesses(context.runtime, 'lsp'));
      await ready(context);
    },
  },
];
