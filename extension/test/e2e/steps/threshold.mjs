/** The slider, the presets and the quick pick. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';

import { until } from '../harness.mjs';
import { greenCodeProcesses } from '../processes.mjs';
import { completeAndRead, slideTo } from './common.mjs';

export const steps = [
  {
    name: 'Set Threshold opens the slider',
    run: async ({ workbench }) => {
      await workbench.command('Green Code: Set Threshold');
      const frame = await workbench.webview('#threshold');
      await until('the slider shows the setting', async () => (await frame.locator('#value').textContent()) === '0.80');
      const name = await frame.locator('#threshold').evaluate((slider) => slider.labels[0].textContent);
      assert.equal(name, 'Exit threshold');
    },
  },
  {
    name: 'the view says that only fast decoding uses the threshold, and selects it',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await frame.locator('#no-effect', { hasText: 'Decoding is exact' }).waitFor();
      await frame.locator('#use-fast').click();
      await until('settings.json has fast decoding', () => workbench.userSetting('greenCode.decoding') === 'fast');
      await frame.locator('#no-effect').waitFor({ state: 'hidden' });
    },
  },
  {
    name: 'at threshold 1 every layer runs',
    run: async (context) => {
      const frame = await slideTo(context, 1);
      const after = await completeAndRead(context);
      assert.equal(after.layers, after.layersTotal, after.label);
      await until('the view follows', async () =>
        (await frame.locator('#summary').textContent()).startsWith(`${after.layersTotal}.0 of ${after.layersTotal} layers`));
      return `${after.layers} of ${after.layersTotal}`;
    },
  },
  {
    name: 'at threshold 0.5 fewer layers run, without a restart',
    run: async (context) => {
      const fronts = greenCodeProcesses(context.runtime, 'lsp');
      const frame = await slideTo(context, 0.5);
      let after = await completeAndRead(context);
      for (let attempt = 1; attempt < 4 && after.layers === after.layersTotal; attempt += 1) {
        after = await completeAndRead(context); // one completion may need every layer, but not four
      }
      assert.ok(after.layers < after.layersTotal, after.label);
      assert.deepEqual(greenCodeProcesses(context.runtime, 'lsp'), fronts);
      await until('the view follows', async () => (await frame.locator('#summary').textContent()).startsWith(after.layers.toFixed(1)));
      return `${after.layers} of ${after.layersTotal}`;
    },
  },
  {
    name: 'the slider works with the keyboard',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await frame.locator('#threshold').press('ArrowRight');
      await until('one step', () => workbench.userSetting('greenCode.threshold') === 0.51);
    },
  },
  {
    name: 'the presets of the bundle are buttons and rows',
    when: ({ stub }) => stub,
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      const saver = frame.locator('#presets button', { hasText: 'Saver' });
      await saver.click();
      await until('settings.json has the preset', () => workbench.userSetting('greenCode.threshold') === 0.6);
      assert.equal(await saver.getAttribute('aria-pressed'), 'true');
      const here = 'On held-out code with an empty cache: 30% energy saved, 94% of full-depth quality kept.';
      assert.equal(await frame.locator('#here').textContent(), here);
      assert.equal(await frame.locator('#threshold').getAttribute('aria-valuetext'), `0.60. ${here}`);
      assert.equal(await frame.locator('#curve circle').count(), 5); // three thresholds, full depth, and the current value
      await workbench.command('Green Code: Set Threshold (Quick Pick)');
      await workbench.choose('Quality', { title: 'Green Code: Threshold' });
      await until('settings.json has the other', () => workbench.userSetting('greenCode.threshold') === 0.95);
      await frame.locator('#presets button[aria-pressed=true]', { hasText: 'Quality' }).waitFor();
    },
  },
  {
    name: 'the quick pick sets a number and rejects a wrong one, and the slider follows',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await workbench.command('Green Code: Set Threshold (Quick Pick)');
      await workbench.choose('Enter a number', { title: 'Green Code: Threshold' });
      await workbench.enter('7', 'A number between');
      await workbench.page.locator('.quick-input-message', { hasText: 'outside the range' }).waitFor();
      await workbench.enter('0.75', 'outside the range');
      await until('settings.json has 0.75', () => workbench.userSetting('greenCode.threshold') === 0.75);
      await until('the slider follows', async () => (await frame.locator('#threshold').inputValue()) === '0.75');
    },
  },
  {
    name: 'the quick pick sets full depth',
    run: async (context) => {
      const { workbench } = context;
      await workbench.command('Green Code: Set Threshold (Quick Pick)');
      await workbench.choose('Full depth', { title: 'Green Code: Threshold' });
      await until('settings.json has 1', () => workbench.userSetting('greenCode.threshold') === 1);
      const after = await completeAndRead(context);
      assert.equal(after.layers, after.layersTotal, after.label);
    },
  },
];
