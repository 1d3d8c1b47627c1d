/** The stops, the exit threshold with its presets, and the quick pick. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';

import { until } from '../harness.mjs';
import { greenCodeProcesses } from '../processes.mjs';
import { pattern, text } from '../texts.mjs';
import { changeSettings, completeAndRead, invoke, slideTo } from './common.mjs';

/** Opens the quick pick, and from its last entry the exit thresholds. */
async function pickExitThreshold(workbench) {
  await invoke(workbench, 'setThresholdQuickPick');
  await workbench.choose(text('threshold.exitThresholdChoice'), { title: text('threshold.suggestionsTitle') });
}

/** WCAG 2.2: relative luminance, and the ratio of two colours. Parts of controls need 3. */
const luminance = (color) => {
  const [red, green, blue] = color.map((value) => value / 255).map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};

function contrast(one, other) {
  const [dark, light] = [luminance(one), luminance(other)].sort((first, second) => first - second);
  return (light + 0.05) / (dark + 0.05);
}

/** Of the thumb with the view's background, above the slider. */
async function thumbContrast(workbench, slider) {
  await slider.scrollIntoViewIfNeeded();
  const share = await slider.evaluate(({ value, min, max }) => (value - min) / (max - min));
  const { x, y, width, height } = await slider.boundingBox();
  const THUMB = 16;
  const at = Math.round(x + THUMB / 2 + share * (width - THUMB));
  return contrast(await workbench.colorAt(at, Math.round(y + height / 2)), await workbench.colorAt(Math.round(x + 2), Math.round(y - 4)));
}

const nameOf = (slider) => slider.evaluate((element) => element.labels[0].textContent);

export const steps = [
  {
    name: 'Set Threshold opens the stops and the modes; the exit threshold is not there, because exact ignores it',
    run: async ({ workbench }) => {
      await invoke(workbench, 'setThreshold');
      const frame = await workbench.webview('#suggestions');
      await until('the slider shows the stop', async () => (await frame.locator('#stop').textContent()) === text('threshold.balanced'));
      assert.equal(await nameOf(frame.locator('#suggestions')), text('threshold.suggestions'));
      await frame.locator('#on-exact').waitFor();
      assert.equal(await frame.locator('#threshold').isVisible(), false);
    },
  },
  {
    name: 'the stops are set with the keyboard and by the quick pick, and have the figures of the bundle',
    run: async ({ workbench, stub }) => {
      const frame = await workbench.webview('#suggestions');
      const slider = frame.locator('#suggestions');
      await slider.press('ArrowRight');
      await until('settings.json has sure', () => workbench.userSetting('greenCode.suggestions') === 'sure');
      assert.ok((await slider.getAttribute('aria-valuetext')).startsWith(`${text('threshold.sure')}. `));
      if (stub) {
        assert.equal(await frame.locator('#comparison').textContent(), text('threshold.timesLess', { times: '5.0' }));
        assert.deepEqual(await frame.locator('#figures tr').first().locator('th, td').allTextContents(), [text('common.charactersAccepted'), '42%', '23%']);
        assert.equal(await frame.locator('#outcomes .here').count(), 2);
      }
      await invoke(workbench, 'setThresholdQuickPick');
      await workbench.choose(text('threshold.balanced'), { title: text('threshold.suggestionsTitle') });
      await until('settings.json has balanced', () => workbench.userSetting('greenCode.suggestions') === 'balanced');
      await until('the slider follows', async () => (await frame.locator('#stop').textContent()) === text('threshold.balanced'));
    },
  },
  {
    name: 'a button selects the other mode, with its exit threshold',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await frame.locator('#use-fast').click();
      await until('settings.json has fast decoding', () => workbench.userSetting('greenCode.decoding') === 'fast');
      await frame.locator('#threshold').waitFor();
      await frame.locator('#on-fast').waitFor();
      await until('the slider shows the setting', async () => (await frame.locator('#value').textContent()) === '0.99');
      assert.equal(await nameOf(frame.locator('#threshold')), text('threshold.exitThreshold'));
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
    name: 'the exit threshold works with the keyboard',
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
      const saver = frame.locator('#presets button', { hasText: text('threshold.saver') });
      await saver.click();
      await until('settings.json has the preset', () => workbench.userSetting('greenCode.threshold') === 0.6);
      assert.equal(await saver.getAttribute('aria-pressed'), 'true');
      const here = text('threshold.expectedHere', { saving: '30%', accuracy: '94%' });
      assert.equal(await frame.locator('#here').textContent(), here);
      assert.equal(await frame.locator('#threshold').getAttribute('aria-valuetext'), `0.60. ${here}`);
      assert.equal(await frame.locator('#curve circle').count(), 5); // three thresholds, full depth, and the current value
      await pickExitThreshold(workbench);
      await workbench.choose(text('threshold.quality'), { title: text('threshold.title') });
      await until('settings.json has the other', () => workbench.userSetting('greenCode.threshold') === 0.95);
      await frame.locator('#presets button[aria-pressed=true]', { hasText: text('threshold.quality') }).waitFor();
    },
  },
  {
    name: 'the quick pick sets a number and rejects a wrong one, and the slider follows',
    run: async ({ workbench }) => {
      const frame = await workbench.webview('#threshold');
      await pickExitThreshold(workbench);
      await workbench.choose(text('threshold.enterNumber'), { title: text('threshold.title') });
      await workbench.enter('7', text('threshold.numberPrompt'));
      await workbench.page.locator('.quick-input-message', { hasText: pattern('threshold.outOfRange') }).waitFor();
      await workbench.enter('0.75', pattern('threshold.outOfRange'));
      await until('settings.json has 0.75', () => workbench.userSetting('greenCode.threshold') === 0.75);
      await until('the slider follows', async () => (await frame.locator('#threshold').inputValue()) === '0.75');
    },
  },
  {
    name: 'the quick pick sets full depth',
    run: async (context) => {
      const { workbench } = context;
      await pickExitThreshold(workbench);
      await workbench.choose(text('common.fullDepth'), { title: text('threshold.title') });
      await until('settings.json has 1', () => workbench.userSetting('greenCode.threshold') === 1);
      const after = await completeAndRead(context);
      assert.equal(after.layers, after.layersTotal, after.label);
    },
  },
  {
    name: 'the thumbs of both sliders are visible in every theme',
    run: async (context) => {
      const { workbench } = context;
      const frame = await workbench.webview('#threshold');
      const found = [];
      for (const [theme, kind] of [['Default High Contrast', 'high-contrast'], ['Default High Contrast Light', 'high-contrast-light'], ['Default Light+', 'light'], [undefined, 'dark']]) {
        await changeSettings(context, { 'workbench.colorTheme': theme });
        await frame.locator(`body[data-vscode-theme-kind="vscode-${kind}"]`).waitFor();
        for (const name of ['suggestions', 'threshold']) {
          await until(`the thumb of ${name}, ${kind}`, async () => (await thumbContrast(workbench, frame.locator(`#${name}`))) >= 3);
        }
        found.push(kind);
      }
      return found.join(', ');
    },
  },
];
