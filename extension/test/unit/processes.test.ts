import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { describe, expect, it, vi } from 'vitest';

import { run as realRun, type Run } from '../../src/environment/processes';
import { endEngines, recordDaemon } from '../../src/environment/uninstallRecord';
import { ok } from './results';

describe('the script that runs after an uninstall', () => {
  it('ends the engines of this extension, with the variables they were started with', async () => {
    const extension = await fs.mkdtemp(path.join(os.tmpdir(), 'green-code-test-'));
    await fs.mkdir(path.join(extension, 'dist'));
    const run = vi.fn<Run>(() => Promise.resolve(ok()));
    await endEngines(extension, run); // nothing ever ran
    expect(run).not.toHaveBeenCalled();
    const named = { python: '/opt/python', origin: 'setting', cwd: '/storage' } as const;
    const managed = { python: '/venv/bin/python', origin: 'managed', cwd: '/storage' } as const;
    for (const daemon of [named, managed, named]) {
      await recordDaemon(extension, daemon);
    }
    vi.stubEnv('PYTHONPATH', '/elsewhere');
    await endEngines(extension, run);
    vi.unstubAllEnvs();
    const calls = run.mock.calls.map(([command, args, { cwd, env }]) => [command, args.join(' '), cwd, env?.PYTHONPATH, env?.GREEN_CODE_BUNDLES]);
    const bundles = path.join(extension, 'agent_models');
    expect(calls).toEqual([
      ['/venv/bin/python', '-m green_code engine --stop', '/storage', undefined, bundles],
      ['/opt/python', '-m green_code engine --stop', '/storage', '/elsewhere', bundles],
    ]);
    await fs.rm(extension, { recursive: true });
  });
});

describe('child processes', () => {
  const cwd = os.tmpdir();

  it('give code, output and lines', async () => {
    const lines: string[] = [];
    const result = await realRun(process.execPath, ['-e', 'console.log("a\\nb"); process.exit(3)'], { cwd, onLine: (line) => lines.push(line) });
    expect(result).toMatchObject({ code: 3, stdout: 'a\nb\n' });
    expect(lines).toEqual(['a', 'b']);
  });

  it('are killed with their descendants on cancel', async () => {
    const controller = new AbortController();
    const script = 'const c = require("child_process").spawn(process.execPath, ["-e", "setInterval(() => 0, 1e3)"]); console.log(c.pid); setInterval(() => 0, 1e3)';
    let grandchild = 0;
    const result = await realRun(process.execPath, ['-e', script], {
      cwd,
      signal: controller.signal,
      onLine: (line) => {
        grandchild = Number(line);
        controller.abort();
      },
    });
    expect(result.code).toBeNull();
    expect(grandchild).toBeGreaterThan(0);
    expect(await hasEnded(grandchild)).toBe(true);
  });

  it('that cannot be started give the reason', async () => {
    expect(await realRun('/no/such/program', [], { cwd })).toMatchObject({ code: null, stderr: expect.stringContaining('ENOENT') as string });
    expect(await realRun('a\0b', [], { cwd })).toMatchObject({ code: null, stderr: expect.stringContaining('null bytes') as string });
  });
});

/** Waits until the process has ended; a zombie has ended too. */
async function hasEnded(pid: number): Promise<boolean> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
    if (stat === null || stat.includes(') Z ')) {
      return true;
    }
    await new Promise((next) => setTimeout(next, 20));
  }
  return false;
}
