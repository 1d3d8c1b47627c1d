/** What the commands show: layers, report, explanation, diagnosis, menu; and Java. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { text } from '../texts.mjs';
import { answerBehind, clickItem, figures, ghostOrAsk, invoke, ready, READY_MS, suggest, typeHead, withSettings } from './common.mjs';
import { acceptEach, inFile, tabIndents, TYPESCRIPT } from './insertion.mjs';

async function openMenu(workbench) {
  await clickItem(workbench);
  await workbench.page.locator('.quick-input-list .monaco-list-row').first().waitFor();
}

export const steps = [
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
  {
    name: 'Show Layers draws the last completion',
    run: async ({ workbench }) => {
      await invoke(workbench, 'showLayers');
      const layers = workbench.page.locator(`.monaco-editor[data-uri*="${text('layers.fileName')}"]`);
      await layers.locator('.view-line', { hasText: '█' }).first().waitFor({ timeout: 20_000 });
      await layers.locator('.view-lines').click();
      await workbench.command('View: Close Editor'); // it stands beside the file, and would make the report narrow
    },
  },
  {
    name: 'the energy report opens',
    run: async ({ workbench, stub }) => {
      await invoke(workbench, 'energyReport');
      const frame = await workbench.webview('h1');
      assert.equal(await frame.locator('h1').textContent(), text('common.energyReport'));
      assert.match(await frame.locator('#acceptance .figure').textContent(), /^[1-9]\d*\s?%$/);
      for (const language of ['java', 'python']) {
        await frame.locator('th[scope=row]', { hasText: language }).waitFor({ timeout: 10_000 });
      }
      const cut = await frame.locator('.scroll').evaluateAll((all) => all.filter((table) => table.scrollWidth > table.clientWidth).length);
      assert.equal(cut, 0, 'a table is cut off');
      if (stub) {
        await until('the charts are drawn', () =>
          frame.locator('canvas').evaluateAll((all) => all.length === 2 && all.every((canvas) => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.some(Boolean))));
      }
    },
  },
  {
    name: 'at 200 % zoom, neither report nor threshold view is cut off',
    run: async (context) => {
      const { workbench, stub } = context;
      const { page } = workbench;
      const { width, height } = page.viewportSize();
      await page.setViewportSize({ width: width / 2, height: height / 2 }); // what the browser's zoom does
      try {
        for (const selector of ['h1', '#suggestions']) {
          const frame = await workbench.webview(selector);
          await until(`${selector} fits`, () => frame.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 5000);
        }
        if (stub) {
          await workbench.command('View: Close Editor');
        }
      } finally {
        await page.setViewportSize({ width, height });
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
          return lead.includes(text('report.empty'));
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
    name: 'the menu snoozes, and resumes',
    run: async (context) => {
      const { workbench } = context;
      await openMenu(workbench);
      await workbench.choose(text('menu.snooze'));
      await workbench.choose(text('snooze.minutes', { count: '5' }), { title: text('snooze.title') });
      await until('snoozed', async () => (await figures(context)).text.endsWith(text('status.minutesLeft', { count: '5' })));
      const { answered } = await answerBehind(context, await typeHead(context), '    return');
      assert.equal(answered, null);
      assert.equal(await workbench.hasGhost(), false);
      await workbench.type(' 0');
      await openMenu(workbench);
      await workbench.choose(text('snooze.resume'));
      await ready(context);
      await suggest(context);
    },
  },
  {
    name: 'the status item of a TypeScript file turns TypeScript on in this workspace; two spaces stay two spaces; and off again',
    when: ({ stub }) => !stub,
    run: async (context) => {
      const { workbench, front } = context;
      const settings = `${workbench.folder}/.vscode/settings.json`;
      const switchTo = async (title, languages) => {
        const mark = front.mark();
        await openMenu(workbench);
        await workbench.choose(text(title, { name: 'TypeScript' }));
        await workbench.choose(text('languages.here'), { title: text(title, { name: 'TypeScript' }) });
        await front.next('the front knows', mark, (event) => event.settings?.languages?.join() === languages);
      };
      const off = text('status.offFor', { name: 'TypeScript' });
      const isOff = () => until('off', async () => (await figures(context)).label.startsWith(`Green Code. ${off}`));
      await withSettings(context, { 'greenCode.languages': ['python', 'java'] }, async () => {
        await inFile(context, 'sum.ts', 'const one = 1;\n', async () => {
          await isOff();
          await switchTo('languages.enable', 'python,java,typescript');
          await ready(context);
        });
        assert.deepEqual(JSON.parse(fs.readFileSync(settings, 'utf8'))['greenCode.languages'], ['python', 'java', 'typescript']);
        await acceptEach(context, 'sum.ts', TYPESCRIPT);
        await tabIndents(context, 'two.ts', 'function two() {\n  const one = 1;', '  ', 'return one + one;');
        await inFile(context, 'sum.ts', 'const one = 1;\n', async () => {
          await switchTo('languages.disable', 'python,java');
          await isOff();
        });
      });
      await ready(context);
    },
  },
];
