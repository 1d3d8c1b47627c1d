import os from 'node:os';

import { expect, it, vi } from 'vitest';

import { Daemon } from '../../src/environment/daemon';
import type { Run } from '../../src/environment/processes';
import { t } from '../../src/l10n';
import { ok } from './results';

const processes = vi.hoisted(() => ({ run: vi.fn<Run>() }));
vi.mock('../../src/environment/processes', () => processes);
vi.mock('../../src/environment/resolve', () => ({ resolve: () => Promise.resolve({ kind: 'ready', python: 'python', origin: 'setting' }) }));

const daemon = new Daemon({ storage: os.tmpdir(), version: '0.1.0', bundled: '/extension/bundled' }, '/extension', () => '');
const hung = { code: null, stdout: '', stderr: '' };

it('a command that nobody can cancel has a deadline, and says so', async () => {
  processes.run.mockResolvedValue(hung);
  expect(await daemon.run(['models', 'list'])).toEqual({ ...hung, stderr: t('setUp.noAnswer', { seconds: '120' }) });
  expect(processes.run.mock.lastCall?.[2].timeoutMs).toBe(120_000);
  processes.run.mockResolvedValue(ok('[]'));
  expect(await daemon.run(['models', 'list'])).toEqual(ok('[]'));
});

it('a command with a button to cancel it has none', async () => {
  processes.run.mockResolvedValue(hung);
  expect(await daemon.run(['models', 'get', 'a'], new AbortController().signal)).toEqual(hung);
  expect(processes.run.mock.lastCall?.[2].timeoutMs).toBeUndefined();
});
