/** A server in the place of the model: llama.cpp's own, with the default model's file. A step throws, or returns a detail to print. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import path from 'node:path';

import { until } from '../harness.mjs';
import { pattern, text } from '../texts.mjs';
import { ask, COMPLETION_MS, figures, invoke, ITEM, READY_MS, ready, suggest } from './common.mjs';

const SCRIPT = path.resolve(import.meta.dirname, '../../../../daemon/tests/engine/remote/llama_server.py');
const KEY = 'sk-editor';

/** Its address, and what ends it. */
async function llamaServer(python) {
  const server = spawn(python, [SCRIPT, KEY], { stdio: ['pipe', 'pipe', 'inherit'] });
  let address = '';
  server.stdout.on('data', (data) => (address += data));
  await until('llama-server is ready', () => address.endsWith('\n'), READY_MS);
  return { address: address.trim(), stop: () => server.stdin.end() };
}

/** Of the first function that the model can continue: what it makes of one may not fit. */
async function suggestion(context, attempts = 3) {
  try {
    return await suggest(context);
  } catch (error) {
    if (attempts === 1) {
      throw error;
    }
    return suggestion(context, attempts - 1);
  }
}

export const steps = [
  {
    name: 'a server takes the place of the model after consent, with a key, and its joules are unknown',
    when: ({ stub }) => !stub,
    run: async (context) => {
      const { workbench, python } = context;
      const { address, stop } = await llamaServer(python);
      const { host } = new URL(address);
      const item = async () => (await figures(context)).text;
      try {
        workbench.changeSettings({ 'greenCode.endpoint': address });
        const consent = workbench.notification(host);
        await consent.waitFor({ timeout: COMPLETION_MS });
        assert.ok(!(await item()).includes(host), 'it is used before consent');
        await consent.locator('.monaco-button', { hasText: text('endpoint.allow') }).click();
        await until('the status item names the host', async () => (await item()).includes(host));
        await workbench.newLine();
        await ask(workbench);
        await until('the key is missing', async () => (await figures(context)).label.includes('401'), COMPLETION_MS);
        await invoke(workbench, 'setApiKey');
        await workbench.enter(KEY, text('endpoint.keyTitle'));
        const ghost = await suggestion(context);
        const saved = await workbench.saved();
        assert.ok(ghost.trim() !== '' && saved.includes(ghost.split('\n')[0]), `no ${JSON.stringify(ghost)} in ${JSON.stringify(saved)}`);
        await workbench.page.locator(`[id="${ITEM}"] a`).first().hover();
        const tooltip = workbench.page.locator('.monaco-hover', { hasText: text('status.session') });
        await tooltip.waitFor({ timeout: 10_000 });
        assert.match(await tooltip.textContent(), pattern('figures.unmeasured'));
        await workbench.page.mouse.move(600, 300);
        return `${JSON.stringify(ghost)} from ${await item()}`;
      } finally {
        workbench.changeSettings({ 'greenCode.endpoint': undefined });
        stop();
        await ready(context);
      }
    },
  },
];
