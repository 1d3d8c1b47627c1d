/** What the commands show: layers, report, explanation, diagnosis, menu; and Java. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { figures, ghostOrAsk, ITEM, ready, READY_MS, suggest, t, title, typeHead } from './common.mjs';

export const steps = [
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
      await frame.locator('button', { hasText: 'Export' }).click();
      const dialog = workbench.page.locator('.quick-input-widget:visible', { hasText: 'Export Energy History' });
      // The dialog opens empty and proposes a name later, which would overwrite ours on a busy machine.
      await until('the dialog proposes a name', async () => (await dialog.locator('input').first().inputValue()).endsWith('green-code-energy.csv'));
      const lines = await until('the file is written', async () => {
        if (fs.existsSync(file)) {
          return fs.readFileSync(file, 'utf8').trim().split('\n');
        }
        if (await dialog.isVisible()) {
          await workbench.enter(file, 'Export Energy History'); // again, if it was still reading the folder
          await workbench.page.waitForTimeout(1000);
        }
        return null;
      });
      assert.match(lines[0], /^id,time,language,model,/);
      assert.ok(lines.length > 1 && !lines.join().includes('return'), lines.join());
      await workbench.dismissNotifications();
      await frame.locator('button', { hasText: 'Delete History' }).click();
      await workbench.page.locator('.monaco-dialog-box .monaco-button', { hasText: 'Delete' }).click();
      await until('the report is empty', async () => {
        const shown = await workbench.webview('h1');
        try {
          const lead = await shown.locator('.lead').textContent({ timeout: 1000 });
          return lead.includes(t('report.nothingToday')) && (await shown.locator('canvas').count()) === 0;
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
      await workbench.command('Green Code: Why No Suggestion?');
      const toast = workbench.page.locator('.notification-list-item', { hasText: 'Show Log' }).first();
      await toast.waitFor({ timeout: 15_000 });
      const text = await toast.locator('.notification-list-item-message').textContent();
      await workbench.dismissNotifications();
      return text;
    },
  },
  {
    name: 'Forget What Was Learned says that it is done',
    run: async ({ workbench }) => {
      await workbench.command(title('resetGate'));
      await workbench.notification(t('commands.gateReset')).waitFor({ timeout: 15_000 });
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'Diagnose shows the output of doctor, and offers to copy it',
    run: async ({ workbench }) => {
      await workbench.command('Green Code: Diagnose');
      const line = workbench.page.locator('.monaco-editor[data-uri*="Diagnosis.txt"] .view-line', { hasText: /ok|warn|fail/ }).first();
      await line.waitFor({ timeout: READY_MS });
      await workbench.notification(t('diagnose.done')).locator('.monaco-button', { hasText: 'Copy' }).waitFor();
      await workbench.dismissNotifications();
      return line.textContent();
    },
  },
  {
    name: 'the switch turns suggestions off and on again',
    run: async (context) => {
      const { workbench } = context;
      await workbench.command(title('toggle'));
      await until('Off', async () => (await figures(context)).text.endsWith('Off'));
      await typeHead(workbench);
      await assert.rejects(workbench.waitForGhost(2500), 'a suggestion although switched off');
      await workbench.type(' 0');
      await workbench.command(title('toggle'));
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
      await ghostOrAsk(workbench);
      const ghost = await workbench.ghost();
      await workbench.saved();
      await workbench.command('View: Close Editor');
      workbench.file = python;
      return JSON.stringify(ghost);
    },
  },
];
