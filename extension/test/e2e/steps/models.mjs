/** Choose Model: the list, and a model that is downloaded, converted and used. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';

import { until } from '../harness.mjs';
import { text } from '../texts.mjs';
import { invoke, ready, suggest } from './common.mjs';

const LIST_MS = 60_000;
/** Of half a gigabyte, and its conversion on a busy machine. */
const GET_MS = 900_000;
const MODEL = { name: 'qwen2.5-coder-0.5b-instruct', title: 'Qwen2.5-Coder 0.5B Instruct' };

const chosenModel = (workbench) => workbench.setting('Machine', 'greenCode.model');

const row = ({ page }, label) => page.locator('.quick-input-list .monaco-list-row', { hasText: label }).first();

export const steps = [
  {
    name: 'Choose Model lists models with size, speed and licence, and Escape changes nothing',
    when: ({ stub }) => !stub,
    run: async ({ workbench }) => {
      const before = chosenModel(workbench);
      await invoke(workbench, 'chooseModel');
      const gemma = row(workbench, 'Gemma 3 270M');
      await gemma.waitFor({ timeout: LIST_MS });
      const shown = (await gemma.textContent()).replaceAll('\u00a0', ' ');
      assert.match(shown, /MB.*J/);
      await workbench.page.keyboard.press('Escape');
      assert.equal(chosenModel(workbench), before);
      return shown;
    },
  },
  {
    name: 'Choose Model gets a model after consent, with progress, and completions come from it',
    when: ({ setUp }) => setUp,
    run: async (context) => {
      const { workbench } = context;
      const began = performance.now();
      await invoke(workbench, 'chooseModel');
      await row(workbench, MODEL.title).waitFor({ timeout: LIST_MS });
      await workbench.choose(MODEL.title, { title: text('models.title') });
      const dialog = workbench.page.locator('.monaco-dialog-box');
      await dialog.waitFor();
      assert.match(await dialog.textContent(), /Apache-2\.0/);
      await dialog.locator('.monaco-button', { hasText: text('models.get') }).click();
      await workbench.notification(text('models.getting')).waitFor({ timeout: LIST_MS });
      await until('the model is chosen', () => chosenModel(workbench) === MODEL.name, GET_MS);
      await ready(context);
      const ghost = await suggest(context);
      const seconds = Math.round((performance.now() - began) / 1000);
      workbench.changeSettings({ 'greenCode.model': undefined });
      await ready(context);
      return `${JSON.stringify(ghost)} after ${seconds} s`;
    },
  },
];
