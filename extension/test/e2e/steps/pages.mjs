/** What the commands show: layers, report, explanation, diagnosis, menu; and Java. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { text } from '../texts.mjs';
import { answerBehind, figures, ghostOrAsk, invoke, ITEM, ready, READY_MS, suggest, typeHead } from './common.mjs';

export const steps = [
  {
    name: 'Show Layers draws the last completion',
    run: async ({ workbench }) => {
      await invoke(workbench, 'showLayers');
      await workbench.page.locator(`.monaco-editor[data-uri*="${text('layers.fileName')}"] .view-line`, { hasText: '█' }).first().waitFor({ timeout: 20_000 });
    },
  },
  {
    name: 'the energy report opens',
    run: async ({ workbench, stub }) => {
      await invoke(workbench, 'energyReport');
      const frame = await workbench.webview('h1');
      assert.equal(await frame.locator('h1').textContent(), text('common.energyReport'));
      await frame.locator('th[scope=row]', { hasText: 'python' }).waitFor({ timeout: 10_000 });
      const today = await frame.locator('tr', { hasText: text('common.today') }).locator('td').allTextContents();
      assert.ok(Number(today[6]) >= 1, `nothing accepted: ${today.join(' | ')}`);
      await until('the charts are drawn', () =>
        frame.locator('canvas').evaluateAll((all) => all.length === 2 && all.every((canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean))));
      if (stub) {
        await workbench.command('View: Close Editor'); // otherwise the next step uses and closes it
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
      await frame.locator('#export').click();
      const dialog = workbench.page.locator('.quick-input-widget:visible', { hasText: text('history.export') });
      // The dialog opens empty and proposes a name later, which would overwrite ours on a busy machine.
      await until('the dialog proposes a name', async () => (await dialog.locator('input').first().inputValue()).endsWith('green-code-energy.csv'));
      const lines = await until('the file is written', async () => {
        if (fs.existsSync(file)) {
          return fs.readFileSync(file, 'utf8').trim().split('\n');
        }
        if (await dialog.isVisible()) {
          await workbench.enter(file, text('history.export')); // again, if it was still reading the folder
          await workbench.page.waitForTimeout(1000);
        }
        return null;
      });
      assert.match(lines[0], /^id,time,language,model,/);
      assert.ok(lines.length > 1 && !lines.join().includes('return'), lines.join());
      await workbench.dismissNotifications();
      await frame.locator('#delete').click();
      await workbench.page.locator('.monaco-dialog-box .monaco-button', { hasText: text('history.delete') }).click();
      await until('the report is empty', async () => {
        const shown = await workbench.webview('h1');
        try {
          const lead = await shown.locator('.lead').textContent({ timeout: 1000 });
          return lead.includes(text('report.nothingToday')) && (await shown.locator('canvas').count()) === 0;
        } catch {
          return false; // the page is being replaced
        }
      });
      await until('the status item has no figure', async () => (await figures(context)).text.endsWith('Green Code'));
      await workbench.command('View: Close Editor');
      return `${lines.length - 1} completions`;
    },
  },
  {
    name: 'Why No Suggestion? explains',
    run: async ({ workbench }) => {
      await invoke(workbench, 'whyNoSuggestion');
      const toast = workbench.page.locator('.notification-list-item', { hasText: text('common.showLog') }).first();
      await toast.waitFor({ timeout: 15_000 });
      const shown = await toast.locator('.notification-list-item-message').textContent();
      await workbench.dismissNotifications();
      return shown;
    },
  },
  {
    name: 'Reset Gate says that it is done',
    run: async ({ workbench }) => {
      await invoke(workbench, 'resetGate');
      await workbench.notification(text('commands.gateReset')).waitFor({ timeout: 15_000 });
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'Diagnose shows the output of doctor, and offers to copy it',
    run: async ({ workbench }) => {
      await invoke(workbench, 'diagnose');
      const line = workbench.page.locator(`.monaco-editor[data-uri*="${text('diagnose.fileName')}"] .view-line`, { hasText: /ok|warn|fail/ }).first();
      await line.waitFor({ timeout: READY_MS });
      await workbench.notification(text('diagnose.done')).locator('.monaco-button', { hasText: text('diagnose.copy') }).waitFor();
      await workbench.dismissNotifications();
      return line.textContent();
    },
  },
  {
    name: 'Toggle switches off and on again',
    run: async (context) => {
      const { workbench } = context;
      await invoke(workbench, 'toggle');
      await until('Off', async () => (await figures(context)).text.endsWith(text('status.off')));
      const { answered } = await answerBehind(context, await typeHead(context), '    return');
      assert.equal(answered, null);
      assert.equal(await workbench.hasGhost(), false);
      await workbench.type(' 0');
      await invoke(workbench, 'toggle');
      await ready(context);
      await suggest(context);
    },
  },
  {
    name: 'the status item opens the menu',
    run: async ({ workbench }) => {
      await workbench.page.locator(`[id="${ITEM}"] a`).first().click();
      await workbench.page.locator('.quick-input-list .monaco-list-row', { hasText: text('common.energyReport') }).waitFor();
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
      await workbench.insert('    static int rectangle(int width, int height) {\n        ');
      const mark = context.front.mark();
      await workbench.type('return');
      await ghostOrAsk(context, mark, '        return');
      const ghost = await workbench.ghost();
      await workbench.saved();
      await workbench.command('View: Close Editor');
      workbench.file = python;
      return JSON.stringify(ghost);
    },
  },
];
