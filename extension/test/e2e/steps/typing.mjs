/** Suggestions while typing, and the figures. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';

import { until } from '../harness.mjs';
import { text } from '../texts.mjs';
import { answerBehind, ask, COMPLETION_MS, FIRST_READY_MS, figures, ghostOrAsk, ITEM, ready, suggest, typeHead, withSettings } from './common.mjs';

export const steps = [
  {
    name: 'the status item becomes ready',
    essential: true,
    run: async (context) => {
      await ready(context, FIRST_READY_MS);
      return (await figures(context)).text;
    },
  },
  {
    name: 'typing shows a suggestion, Tab accepts it, and the saved file has it',
    run: async (context) => {
      const { workbench } = context;
      context.notes.before = await figures(context);
      const ghost = await suggest(context);
      const saved = await workbench.saved();
      assert.ok(ghost.trim() !== '' && saved.includes(ghost.split('\n')[0]), `no ${JSON.stringify(ghost)} in ${JSON.stringify(saved)}`);
      return JSON.stringify(ghost);
    },
  },
  {
    name: 'after the first accepted suggestion, the keys are explained',
    run: async ({ workbench }) => {
      await workbench.notification(text('hints.keys')).waitFor();
      await workbench.dismissNotifications();
    },
  },
  {
    name: 'a suggestion always continues the text: typed along, accepted by word, undone',
    when: ({ stub }) => !stub, // the stub's suggestions do not continue the text
    run: async (context) => {
      const { workbench } = context;
      const firstLine = async () => (await workbench.ghost()).split('\n')[0];
      await ghostOrAsk(context, await typeHead(context), '    return');
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
    run: (context) =>
      withSettings(context, { 'greenCode.trigger': 'manual' }, async () => {
        const { workbench } = context;
        const { answered } = await answerBehind(context, await typeHead(context), '    return');
        assert.equal(answered, null);
        assert.equal(await workbench.hasGhost(), false);
        await ask(workbench);
        await workbench.waitForGhost(COMPLETION_MS);
        await workbench.page.keyboard.press('Tab'); // a model that sees empty functions writes more of them
      }),
  },
  {
    name: 'the status item counts completions and joules',
    run: async (context) => {
      const after = await until('more completions', async () => {
        const now = await figures(context);
        return now.completions > context.notes.before.completions ? now : null;
      });
      assert.notEqual(after.savedJoules, null, after.label);
      return after.label;
    },
  },
  {
    name: 'the tooltip has the details',
    run: async ({ workbench }) => {
      await workbench.page.locator(`[id="${ITEM}"] a`).first().hover();
      const tooltip = workbench.page.locator('.monaco-hover', { hasText: text('status.session') });
      await tooltip.waitFor({ timeout: 10_000 });
      const shown = await tooltip.textContent();
      for (const part of ['common.today', 'status.session', 'common.completions', 'common.charactersAccepted', 'common.energyReport', 'threshold.balanced'].map((id) => text(id))) {
        assert.ok(shown.includes(part), `no ${part} in ${shown}`);
      }
      await workbench.page.mouse.move(600, 300);
    },
  },
];
