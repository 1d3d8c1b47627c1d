/** Suggestions while typing, and the figures. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import fs from 'node:fs';

import { until } from '../harness.mjs';
import { ask, COMPLETION_MS, figures, ghostOrAsk, ITEM, ready, suggest, t, typeHead } from './common.mjs';

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
    name: 'a suggestion always continues the text: typed along, accepted by word, undone',
    when: ({ stub }) => !stub, // the stub's suggestions do not continue the text
    run: async ({ workbench }) => {
      const firstLine = async () => (await workbench.ghost()).split('\n')[0];
      await typeHead(workbench);
      await ghostOrAsk(workbench);
      await ask(workbench); // what is shown while typing may be a single word
      const ghost = await until('a suggestion of two words', async () => {
        const shown = await firstLine();
        return /\S\s+\S/.test(shown) ? shown : null;
      }, COMPLETION_MS);
      const shows = (rest) => until(`the ghost is ${JSON.stringify(rest)}`, async () => (await firstLine()) === rest);
      await workbench.type(ghost.slice(0, 2));
      await shows(ghost.slice(2));
      await workbench.page.keyboard.press('Backspace');
      await shows(ghost.slice(1));
      const before = await workbench.saved();
      await workbench.page.keyboard.press('Control+ArrowRight'); // Accept Next Word of Inline Suggestion
      const word = await until('a word was accepted', async () => {
        const now = await workbench.saved();
        return now.length > before.length ? now.slice(before.length) : null;
      });
      assert.ok(ghost.slice(1).startsWith(word) && word.length < ghost.length - 1, JSON.stringify({ ghost, word }));
      await shows(ghost.slice(1 + word.length));
      await workbench.page.keyboard.press('Control+Z');
      await until('the word is gone again', async () => (await workbench.saved()) === before);
      await until('nothing but the rest is shown', async () => ['', ghost.slice(1)].includes(await firstLine()));
      await workbench.page.keyboard.press('Control+Shift+Z');
      await workbench.type(ghost.slice(1 + word.length));
      return JSON.stringify({ ghost, word });
    },
  },
  {
    name: 'Alt+\\ asks where suggestions come on request only',
    run: async ({ workbench }) => {
      const file = workbench.settingsFile('User');
      const before = fs.readFileSync(file, 'utf8');
      const accept = () => workbench.page.keyboard.press('Tab'); // a model that sees empty functions writes more of them
      const comes = async () => {
        await typeHead(workbench);
        const came = await workbench.waitForGhost(4000).then(() => true, () => false);
        if (came) {
          await accept();
        }
        return came;
      };
      fs.writeFileSync(file, JSON.stringify({ ...JSON.parse(before), 'greenCode.trigger': 'manual' }));
      try {
        // The editor reads a changed file some seconds later.
        await until('nothing comes without asking', async () => !(await comes()), COMPLETION_MS);
        await ask(workbench);
        await workbench.waitForGhost(COMPLETION_MS);
        await accept();
      } finally {
        fs.writeFileSync(file, before);
      }
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
      assert.match(after.text, /% less energy/);
      return after.label;
    },
  },
  {
    name: 'the tooltip has the details',
    run: async ({ workbench, picture }) => {
      await workbench.page.locator(`[id="${ITEM}"] a`).first().hover();
      const tooltip = workbench.page.locator('.monaco-hover', { hasText: t('status.session') });
      await tooltip.waitFor({ timeout: 10_000 });
      await picture('tooltip');
      const text = await tooltip.textContent();
      for (const part of ['Today', 'Last suggestion', 'Characters accepted', 'Suggestions: Balanced', 'Mode: exact', 'Energy Report']) {
        assert.ok(text.includes(part), `no ${part} in ${text}`);
      }
      await workbench.page.mouse.move(600, 300);
    },
  },
];
