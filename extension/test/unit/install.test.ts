import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { install, InstallError } from '../../src/environment/install';
import { NEEDS } from '../../src/environment/needs';
import type { Run, RunResult } from '../../src/environment/processes';
import { managedFolder, pythonIn, resolve, type Home } from '../../src/environment/resolve';
import { t } from '../../src/l10n';
import { gigabytes } from '../../src/state/format';
import { failed, never, ok, wheelIn } from './results';

describe('Set Up', () => {
  let root: string;
  let home: Home;
  let final: string;
  const files = () => fs.readdir(home.storage);
  const release = vi.fn(() => Promise.resolve());
  const options = (run: Run, signal = new AbortController().signal, freeBytes = 50e9) => ({
    ...home,
    signal,
    freeBytes: () => Promise.resolve(freeBytes),
    progress: () => undefined,
    log: () => undefined,
    release,
    run,
  });
  /** A Python that creates an environment for `-m venv`, with given results of pip and doctor. */
  const python = (pip: RunResult, doctor: RunResult): Run => async (command, args) => {
    const line = [command, ...args].join(' ');
    if (line.includes('-m venv')) {
      const file = pythonIn(args.at(-1) ?? '');
      await fs.mkdir(path.dirname(file), { recursive: true });
      await fs.writeFile(file, '');
      return ok();
    }
    return line.includes('pip install') ? pip : line.includes('doctor') ? doctor : ok('3.11\n');
  };

  beforeEach(async () => {
    root = await fs.mkdtemp(path.join(os.tmpdir(), 'green-code-test-'));
    home = { storage: path.join(root, 'storage'), version: '0.1.0', bundled: path.join(root, 'bundled') };
    await fs.mkdir(home.bundled);
    await fs.writeFile(wheelIn(home), 'wheel');
    final = await managedFolder(home, wheelIn(home));
    release.mockClear();
  });
  afterEach(() => fs.rm(root, { recursive: true }));

  it('leaves exactly one complete environment', async () => {
    await install(options(python(ok(), ok('{}'))));
    expect(await files()).toEqual([path.basename(final)]);
    expect(path.basename(final)).toMatch(/^venv-0\.1\.0-[0-9a-f]{8}$/);
    expect(await resolve({ ...home, pythonPath: '' })).toMatchObject({ kind: 'ready' });
    expect(release).not.toHaveBeenCalled();
  });

  it('installs neither a model nor anything for a GPU, without variables for other Pythons', async () => {
    vi.stubEnv('PYTHONPATH', '/elsewhere');
    const calls: { args: readonly string[]; env: NodeJS.ProcessEnv | undefined }[] = [];
    const inner = python(ok(), ok());
    await install(
      options((command, args, rest) => {
        calls.push({ args, env: rest.env });
        return inner(command, args, rest);
      }),
    );
    vi.unstubAllEnvs();
    const pip = calls.find(({ args }) => args.includes('pip'))!.args;
    const lists = pip.flatMap((arg, i) => (arg === '--requirement' ? [path.relative(home.bundled, pip[i + 1]!)] : []));
    expect(lists).toEqual(['requirements.txt']);
    expect(pip).toEqual(expect.arrayContaining(['--require-hashes', '--only-binary', ':all:']));
    const digest = createHash('sha256').update('wheel').digest('hex');
    expect(pip.at(-1)).toBe(`green-code[] @ ${pathToFileURL(wheelIn(home)).href}#sha256=${digest}`);
    calls.forEach(({ args, env }) => expect(env, args.join(' ')).not.toHaveProperty('PYTHONPATH'));
  });

  it('removes environments of other versions, and attempts whose window has ended', async () => {
    const { pid: gonePid } = spawnSync(process.execPath, ['--version']);
    const other = `venv-0.1.0-beef.partial-${process.ppid}`;
    const names = ['venv-0.0.9', 'venv-0.1.0-beef', `venv-0.1.0-beef.partial-${gonePid}`, `${path.basename(final)}.partial-${process.pid}.old`, other];
    await Promise.all(names.map((name) => fs.mkdir(path.join(home.storage, name), { recursive: true })));
    await expect(install(options(python(failed('no network'), ok())))).rejects.toThrow('no network');
    expect(await files()).toEqual(['venv-0.0.9', 'venv-0.1.0-beef', other]);
    await install(options(python(ok(), ok())));
    expect((await files()).sort()).toEqual([path.basename(final), other].sort());
  });

  it('keeps the environment that another window runs from', async () => {
    for (const [name, pid] of [['venv-0.0.8', spawnSync(process.execPath, ['--version']).pid], ['venv-0.0.9', process.ppid]] as const) {
      await fs.mkdir(path.join(home.storage, name), { recursive: true });
      await fs.writeFile(path.join(home.storage, name, `window-${pid}`), '');
    }
    await install(options(python(ok(), ok())));
    expect((await files()).sort()).toEqual([path.basename(final), 'venv-0.0.9'].sort());
  });

  const OFFLINE = [
    "WARNING: Retrying (Retry(total=0)) after connection broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to establish a new connection: [Errno -2] Name or service not known')': /simple/torch/",
    'ERROR: No matching distribution found for torch',
  ].join('\n');

  it.each([
    ['pip', failed('ERROR: Ignored'), ok(), t('setUp.pipFailed', { cause: 'ERROR: Ignored' })],
    ['the network', failed(OFFLINE), ok(), t('setUp.offline', { cause: 'Name or service not known' })],
    ['doctor', ok(), failed('torch is missing'), t('setUp.environmentBroken', { cause: 'torch is missing' })],
    ['a hash', failed('ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.\n             Got        c66a'), ok(), t('setUp.otherFiles')],
    [
      'a path',
      failed('ERROR: Could not install packages due to an OSError: [Errno 2] No such file or directory\nHINT: This error might have occurred since this system does not have Windows Long Path support enabled.'),
      ok(),
      t('setUp.longPaths'),
    ],
  ])('leaves nothing and gives the cause when %s fails', async (_, pip, doctor, message) => {
    await expect(install(options(python(pip, doctor)))).rejects.toThrow(new InstallError(message));
    expect(await files()).toEqual([]);
  });

  it('reports a full disk with folder and need, before and during the installation', async () => {
    const message = (free: string) => t('setUp.diskFull', { folder: home.storage, free, needed: '0.8 GB', usual: gigabytes(NEEDS.diskBytes) });
    await expect(install(options(never, undefined, 0.4e9))).rejects.toThrow(new InstallError(message('0.4 GB')));
    let free = 5e9;
    const full = failed('ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device');
    const inner = python(full, ok());
    const run: Run = async (...call) => {
      const result = await inner(...call);
      free = result === full ? 0 : free;
      return result;
    };
    const filling = { ...options(run), freeBytes: () => Promise.resolve(free) };
    await expect(install(filling)).rejects.toThrow(new InstallError(message('0.0 GB')));
    expect(await files()).toEqual([]);
  });

  it('lets pip unpack only in a folder that is removed with the attempt', async () => {
    const inner = python(ok(), ok());
    await install(
      options(async (command, args, rest) => {
        if (args.includes('install')) {
          expect(rest.env?.TMPDIR).toBe(path.join(`${final}.partial-${process.pid}`, 'tmp'));
          await fs.writeFile(path.join(rest.env?.TMPDIR ?? '', 'unpacked'), '');
        } else if (args.includes('doctor')) {
          expect(rest.env?.TMPDIR).toBe(process.env.TMPDIR); // doctor checks the folder of the engine's socket
        }
        return inner(command, args, rest);
      }),
    );
    expect(await fs.readdir(final)).not.toContain('tmp');
  });

  it('leaves nothing when it is cancelled', async () => {
    const controller = new AbortController();
    const inner = python(ok(), ok());
    const run: Run = (command, args, rest) => {
      if (args.includes('install')) {
        controller.abort();
      }
      return inner(command, args, rest);
    };
    await expect(install(options(run, controller.signal))).rejects.toThrow('Cancelled.');
    expect(await files()).toEqual([]);
  });

  it.each([true, false])('waits for a window that began earlier, and continues alone if that one fails: created by it %s', async (made) => {
    const theirs = `${final}.partial-${process.ppid}`;
    await fs.mkdir(theirs, { recursive: true });
    const steps: string[] = [];
    const run = vi.fn(python(ok(), ok('{}')));
    const installing = install({ ...options(run), progress: (step) => steps.push(step) });
    await vi.waitFor(() => expect(steps).toEqual([t('setUp.waitingForWindow')]));
    expect(run).not.toHaveBeenCalled();
    if (made) {
      await fs.mkdir(path.dirname(pythonIn(final)), { recursive: true });
      await fs.writeFile(pythonIn(final), 'theirs');
    }
    await fs.rm(theirs, { recursive: true });
    await installing;
    expect(run.mock.calls.length > 0).toBe(!made);
    expect(await files()).toEqual([path.basename(final)]);
  });

  it('can be cancelled while it waits, and leaves nothing', async () => {
    const theirs = `${final}.partial-${process.ppid}`;
    await fs.mkdir(theirs, { recursive: true });
    const controller = new AbortController();
    await expect(install({ ...options(python(ok(), ok()), controller.signal), progress: () => controller.abort() })).rejects.toThrow('Cancelled.');
    expect(await files()).toEqual([path.basename(theirs)]);
  });

  it('repairs a broken environment that the earlier window did not repair', async () => {
    await fs.mkdir(path.dirname(pythonIn(final)), { recursive: true });
    await fs.writeFile(pythonIn(final), 'broken');
    const theirs = `${final}.partial-${process.ppid}`;
    await fs.mkdir(theirs, { recursive: true });
    const run = vi.fn(python(ok(), ok('{}')));
    await install({ ...options(run), progress: (step) => void (step === t('setUp.waitingForWindow') && fs.rm(theirs, { recursive: true })) });
    expect(run).toHaveBeenCalled();
    expect(await fs.readFile(pythonIn(final), 'utf8')).toBe('');
  });

  it('uses the environment of a window that was faster', async () => {
    const file = pythonIn(final);
    const inner = python(ok(), ok());
    const run: Run = async (command, args, rest) => {
      if (args.includes('doctor')) {
        await fs.mkdir(path.dirname(file), { recursive: true });
        await fs.writeFile(file, 'theirs');
      }
      return inner(command, args, rest);
    };
    await install(options(run));
    expect(await fs.readFile(file, 'utf8')).toBe('theirs');
    expect(await files()).toEqual([path.basename(final)]);
  });

  it('replaces a broken environment once nothing runs from it, and keeps it if the new one fails', async () => {
    const broken = path.join(final, 'broken');
    await fs.mkdir(broken, { recursive: true });
    await expect(install(options(python(failed('no network'), ok())))).rejects.toThrow('no network');
    expect(await fs.stat(broken)).toBeTruthy();
    expect(release).not.toHaveBeenCalled();
    release.mockImplementationOnce(async () => {
      await fs.stat(broken);
    });
    await install(options(python(ok(), ok())));
    expect(release).toHaveBeenCalledOnce();
    await expect(fs.stat(broken)).rejects.toThrow('ENOENT');
    expect(await files()).toEqual([path.basename(final)]);
  });

  it('puts back the environment of a window that was killed while it replaced it', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    const aside = `${final}.partial-${pid}.old`;
    await fs.mkdir(path.dirname(pythonIn(aside)), { recursive: true });
    await fs.writeFile(pythonIn(aside), 'works');
    expect(await resolve({ ...home, pythonPath: '' })).toMatchObject({ kind: 'ready' });
    expect(await files()).toEqual([path.basename(final)]);
    await fs.rename(final, aside);
    await expect(install(options(python(failed('no network'), ok())))).rejects.toThrow('no network');
    expect(await fs.readFile(pythonIn(final), 'utf8')).toBe('works');
  });

  it('reports a build without a wheel', async () => {
    await fs.rm(home.bundled, { recursive: true });
    await expect(install(options(python(ok(), ok())))).rejects.toThrow(t('setUp.noPackageInBuild'));
  });

  it('shows progress that moves at least every two seconds, and at most once a second, while pip is silent', async () => {
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval', 'Date'] });
    try {
      const shown: { at: number; message: string }[] = [];
      let free = 50e9;
      const begin = Date.now();
      const inner = python(ok(), ok('{}'));
      /** pip downloads for 12 s, then installs for 78 s, and says nothing meanwhile. */
      const run: Run = async (command, args, rest) => {
        if (args.includes('install')) {
          rest.onLine?.('Collecting torch>=2.6 (from green-code)');
          rest.onLine?.('  Downloading torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl (887.9 MB)');
          await pass(12, 74e6);
          rest.onLine?.('Installing collected packages: torch');
          await pass(78, 20e6);
        }
        return inner(command, args, rest);
      };
      const pass = async (seconds: number, bytesPerSecond: number) => {
        for (let i = 0; i < seconds; i += 1) {
          free -= bytesPerSecond;
          await vi.advanceTimersByTimeAsync(1000);
        }
      };
      await install({ ...options(run), freeBytes: () => Promise.resolve(free), progress: (message) => shown.push({ at: Date.now() - begin, message }) });
      const during = shown.filter(({ at }) => at > 0);
      expect(during.length).toBeGreaterThan(80);
      during.slice(1).forEach(({ at, message }, i) => {
        expect(at - during[i]!.at, message).toBeGreaterThanOrEqual(1000);
        expect(at - during[i]!.at, message).toBeLessThanOrEqual(2000);
        expect(message).not.toBe(during[i]!.message);
      });
      const messages = shown.map(({ message }) => message);
      expect(messages).toContain(t('setUp.stepBytes', { step: t('setUp.downloading', { name: 'torch' }), done: '444 MB', total: '888 MB', time: '0:06' }));
      expect(messages).toContain(t('setUp.stepBytes', { step: t('setUp.installingPackages'), done: '1.2 GB', total: '2.7 GB', time: '1:00' }));
    } finally {
      vi.useRealTimers();
    }
  });
});
