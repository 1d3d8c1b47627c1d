import { spawnSync } from 'node:child_process';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { unreachable } from '../../src/environment/causes';
import { endEngines, noteDaemon } from '../../src/environment/daemon';
import { describe as describeLine, doctorProblem, install, InstallError } from '../../src/environment/install';
import { candidates, findInterpreter, isRecent, noInterpreterMessage } from '../../src/environment/interpreter';
import { run as realRun, type Run, type RunResult } from '../../src/environment/processes';
import { managedFolder, pythonIn, resolve, type Home } from '../../src/environment/resolve';
import { daemonVariables } from '../../src/environment/variables';

const ok = (stdout = ''): RunResult => ({ code: 0, stdout, stderr: '' });
const failed = (stderr: string, code: number | null = 1): RunResult => ({ code, stdout: '', stderr });
const answering = (result: RunResult): Run => () => Promise.resolve(result);
const wheelIn = ({ bundled }: Home) => path.join(bundled, 'green_code-0.1.0-py3-none-any.whl');

describe('which Python runs the front', () => {
  let root: string;
  let options: Home;
  const never: Run = () => Promise.reject(new Error('nothing should be run'));
  const carry = (text: string) => fs.writeFile(wheelIn(options), text);
  const setUp = async () => {
    const python = pythonIn(await managedFolder(options, wheelIn(options)));
    await fs.mkdir(path.dirname(python), { recursive: true });
    await fs.writeFile(python, '');
    return python;
  };

  beforeEach(async () => {
    root = await fs.mkdtemp(path.join(os.tmpdir(), 'green-code-test-'));
    options = { storage: path.join(root, 'storage'), version: '0.1.0', bundled: path.join(root, 'bundled') };
    await fs.mkdir(options.bundled);
    await carry('one');
  });
  afterEach(() => fs.rm(root, { recursive: true }));

  it('takes the named interpreter first, even where a managed environment exists', async () => {
    await setUp();
    const result = await resolve({ ...options, pythonPath: ' /opt/python ', run: answering(ok('0.1.0\n')) });
    expect(result).toEqual({ kind: 'ready', python: '/opt/python', origin: 'setting' });
  });

  it('then the managed environment of this wheel, without starting it', async () => {
    const python = await setUp();
    expect(await resolve({ ...options, pythonPath: '', run: never })).toEqual({ kind: 'ready', python, origin: 'managed', folder: path.dirname(path.dirname(python)) });
  });

  it('then asks for set-up, also where another build of this version was set up', async () => {
    const missing = await resolve({ ...options, pythonPath: '', run: never });
    expect(missing).toMatchObject({ kind: 'missing' });
    await setUp();
    await carry('two');
    const rebuilt = await resolve({ ...options, pythonPath: '', run: never });
    expect(rebuilt).toMatchObject({ kind: 'missing' });
    expect(rebuilt).not.toEqual(missing); // so that it is offered again
  });

  it('asks for set-up where the build carries no wheel', async () => {
    await fs.rm(options.bundled, { recursive: true });
    expect(await resolve({ ...options, pythonPath: '', run: never })).toMatchObject({ kind: 'missing' });
  });

  it('keeps what is meant for other Pythons from the managed environment, not from a named interpreter', () => {
    const user = { PATH: '/bin', PYTHONPATH: '/old', PYTHONHOME: '/odd', PYTHONUTF8: '1' };
    expect(daemonVariables('managed', '/bundles', user)).toEqual({ PATH: '/bin', PYTHONUTF8: '1', PYTHONIOENCODING: 'utf-8', GREEN_CODE_BUNDLES: '/bundles' });
    expect(daemonVariables('setting', '/bundles', user)).toEqual({ ...user, PYTHONIOENCODING: 'utf-8', GREEN_CODE_BUNDLES: '/bundles' });
  });

  it.each([
    ['another version', ok('0.0.9\n'), 'it has green-code 0.0.9, this extension needs 0.1.0'],
    ['no package', failed("ModuleNotFoundError: No module named 'green_code'"), 'it has no green-code package'],
    ['no interpreter', failed('spawn /opt/python ENOENT', null), 'it cannot be started (spawn /opt/python ENOENT)'],
    ['a broken one', failed('Traceback\nImportError: libssl'), 'it fails with "ImportError: libssl"'],
    ['no answer', failed('', null), 'it cannot be started (no answer in 20 seconds)'],
  ])('names cause and cure for %s, and does not fall back', async (_, answer, cause) => {
    await setUp();
    const result = await resolve({ ...options, pythonPath: '/opt/python', run: answering(answer) });
    expect(result).toEqual({
      kind: 'wrong',
      message: `greenCode.pythonPath is /opt/python: ${cause}. Install the green-code package of this version there, or clear the setting and run Green Code: Set Up.`,
    });
  });
});

describe('finding a Python to build on', () => {
  const table = (answers: Readonly<Record<string, RunResult>>): Run => (command) =>
    Promise.resolve(answers[command] ?? failed('ENOENT', null));

  it('takes the first that is recent enough', async () => {
    const run = table({ python3: ok('3.9\n'), 'python3.12': ok('3.12\n') });
    const { found, rejected } = await findInterpreter('/', run, 'linux');
    expect(found?.command).toBe('python3.12');
    expect(rejected).toEqual(['python3 is Python 3.9']);
  });

  it('explains a missing venv module', async () => {
    const { found, rejected } = await findInterpreter('/', table({ python3: failed("No module named 'ensurepip'") }), 'linux');
    expect(found).toBeNull();
    expect(noInterpreterMessage(rejected)).toContain('install python3-venv');
    expect(noInterpreterMessage([])).toContain('no Python was found');
  });

  it('asks the launcher first on Windows', () => {
    expect(candidates('win32')[0]).toEqual({ command: 'py', args: ['-3'] });
  });

  it('compares versions as numbers', () => {
    expect(['3.9', '3.10', '3.14', '2.7', '4.0', ''].map(isRecent)).toEqual([false, true, true, false, true, false]);
  });
});

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
  /** Python that makes an environment when asked for one, and answers the rest as told. */
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

  it('leaves exactly one whole environment', async () => {
    await install(options(python(ok(), ok('{}'))));
    expect(await files()).toEqual([path.basename(final)]);
    expect(path.basename(final)).toMatch(/^venv-0\.1\.0-[0-9a-f]{8}$/);
    expect(await resolve({ ...home, pythonPath: '' })).toMatchObject({ kind: 'ready' });
    expect(release).not.toHaveBeenCalled();
  });

  it('installs the model and what reads a GPU, unmoved by variables for other Pythons', async () => {
    vi.stubEnv('PYTHONPATH', '/elsewhere');
    const calls: { line: string; env: NodeJS.ProcessEnv | undefined }[] = [];
    const inner = python(ok(), ok());
    await install(
      options((command, args, rest) => {
        calls.push({ line: args.join(' '), env: rest.env });
        return inner(command, args, rest);
      }),
    );
    vi.unstubAllEnvs();
    expect(calls.some(({ line }) => line.includes('pip install') && line.endsWith('.whl[model,gpu]'))).toBe(true);
    calls.forEach(({ line, env }) => expect(env, line).not.toHaveProperty('PYTHONPATH'));
  });

  it('removes environments of other versions, and attempts whose window is gone', async () => {
    const { pid: gonePid } = spawnSync(process.execPath, ['--version']);
    const other = `venv-0.1.0-beef.partial-${process.ppid}`;
    const names = ['venv-0.0.9', 'venv-0.1.0-beef', `venv-0.1.0-beef.partial-${gonePid}`, `${path.basename(final)}.partial-${process.pid}.old`, other];
    await Promise.all(names.map((name) => fs.mkdir(path.join(home.storage, name), { recursive: true })));
    await expect(install(options(python(failed('no network'), ok())))).rejects.toThrow('no network');
    expect(await files()).toEqual(['venv-0.0.9', 'venv-0.1.0-beef', other]);
    await install(options(python(ok(), ok())));
    expect((await files()).sort()).toEqual([path.basename(final), other].sort());
  });

  it('leaves the environment that another window still runs from', async () => {
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
    ['pip', failed('ERROR: Ignored'), ok(), 'pip could not install the packages: ERROR: Ignored'],
    ['the network', failed(OFFLINE), ok(), 'The package index cannot be reached (Name or service not known). Check the network and the proxy, then retry: what was downloaded is kept.'],
    ['doctor', ok(), failed('torch is missing'), 'The new environment does not work: torch is missing'],
    [
      'a path',
      failed('ERROR: Could not install packages due to an OSError: [Errno 2] No such file or directory\nHINT: This error might have occurred since this system does not have Windows Long Path support enabled.'),
      ok(),
      'Windows does not allow paths as long as those of the packages. Enable long paths in Windows (group policy "Enable Win32 long paths", or LongPathsEnabled in the registry), then retry.',
    ],
  ])('leaves nothing and gives the cause when %s fails', async (_, pip, doctor, message) => {
    await expect(install(options(python(pip, doctor)))).rejects.toThrow(new InstallError(message));
    expect(await files()).toEqual([]);
  });

  it('names folder and need where the disk is full, before it begins and half-way', async () => {
    const message = (free: string) =>
      `There is not enough disk space: Green Code needs at least 2.0 GB in ${home.storage} (on Linux up to 10 GB), and ${free} are free. Make room there, then retry.`;
    const never: Run = () => Promise.reject(new Error('nothing should be run'));
    await expect(install(options(never, undefined, 0.4e9))).rejects.toThrow(new InstallError(message('0.4 GB')));
    const free = [5e9, 0];
    const filling = { ...options(python(failed('ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device'), ok())), freeBytes: () => Promise.resolve(free.shift()!) };
    await expect(install(filling)).rejects.toThrow(new InstallError(message('0.0 GB')));
    expect(await files()).toEqual([]);
  });

  it('lets pip unpack only where its files are removed with the attempt', async () => {
    const inner = python(ok(), ok());
    await install(
      options(async (command, args, rest) => {
        if (args.includes('install')) {
          expect(rest.env?.TMPDIR).toBe(path.join(`${final}.partial-${process.pid}`, 'tmp'));
          await fs.writeFile(path.join(rest.env?.TMPDIR ?? '', 'unpacked'), '');
        } else if (args.includes('doctor')) {
          expect(rest.env?.TMPDIR).toBe(process.env.TMPDIR); // it looks where the engine's socket will be
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

  it.each([true, false])('waits for a window that began earlier, and makes it alone where that one failed: made by it %s', async (made) => {
    const theirs = `${final}.partial-${process.ppid}`;
    await fs.mkdir(theirs, { recursive: true });
    const steps: string[] = [];
    const run = vi.fn(python(ok(), ok('{}')));
    const installing = install({ ...options(run), progress: (step) => steps.push(step) });
    await vi.waitFor(() => expect(steps).toEqual(['Another window is setting up']));
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

  it('can be cancelled while it waits, and leaves nothing of its own', async () => {
    const theirs = `${final}.partial-${process.ppid}`;
    await fs.mkdir(theirs, { recursive: true });
    const controller = new AbortController();
    await expect(install({ ...options(python(ok(), ok()), controller.signal), progress: () => controller.abort() })).rejects.toThrow('Cancelled.');
    expect(await files()).toEqual([path.basename(theirs)]);
  });

  it('repairs by itself what the window before it did not', async () => {
    await fs.mkdir(path.dirname(pythonIn(final)), { recursive: true });
    await fs.writeFile(pythonIn(final), 'broken');
    const theirs = `${final}.partial-${process.ppid}`;
    await fs.mkdir(theirs, { recursive: true });
    const run = vi.fn(python(ok(), ok('{}')));
    await install({ ...options(run), progress: (step) => void (step.startsWith('Another') && fs.rm(theirs, { recursive: true })) });
    expect(run).toHaveBeenCalled();
    expect(await fs.readFile(pythonIn(final), 'utf8')).toBe('');
  });

  it('accepts that another window was faster', async () => {
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

  it('replaces a broken environment once nothing runs from it, and keeps it where the new one fails', async () => {
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

  it('says so when the build carries no wheel', async () => {
    await fs.rm(home.bundled, { recursive: true });
    await expect(install(options(python(ok(), ok())))).rejects.toThrow('carries no Python package');
  });

  it('passes on what doctor says', () => {
    const check = { check: 'model', level: 'fail', found: 'its files are damaged', mend: 'Reinstall it.' };
    const other = { check: 'meters', level: 'warn', found: 'no rapl', mend: '' };
    expect(doctorProblem(JSON.stringify({ ok: false, checks: [other, check] }))).toBe('model: its files are damaged. Reinstall it.');
    expect(doctorProblem('{"ok": true, "checks": []}')).toBeNull();
    expect(doctorProblem('Traceback')).toBeNull();
  });

  it.each([
    ['NewConnectionError("HTTPConnection(host=\'127.0.0.1\', port=9): Failed to establish a new connection: [Errno 111] Connection refused")', 'Connection refused'],
    ["SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: unable to get local issuer certificate (_ssl.c:1007)'))", 'certificate verify failed: unable to get local issuer certificate'],
    ['ReadTimeoutError("HTTPSConnectionPool(host=\'pypi.org\', port=443): Read timed out. (read timeout=15)")', 'ReadTimeoutError'],
  ])('reads why the index is out of reach from %s', (exception, cause) => {
    const output = `WARNING: Retrying (Retry(total=1)) after connection broken by '${exception}': /simple/numpy/`;
    expect(unreachable(output, 'ERROR: No matching distribution found for numpy')).toContain(`(${cause})`);
    expect(unreachable(output, 'ERROR: ResolutionImpossible')).toBeNull(); // it was reached in the end
  });

  it('shows what pip is doing', () => {
    expect(describeLine('  Downloading torch-2.8.0-cp311-cp311-manylinux_2_28_x86_64.whl (887.9 MB)')).toBe('Downloading torch, 887.9 MB');
    expect(describeLine('Collecting msgpack<2,>=1.1 (from green-code)')).toBe('Collecting msgpack');
    expect(describeLine('WARNING: Retrying (Retry(total=4)) after')).toBe('The package index does not answer; trying again');
    expect(describeLine('Requirement already satisfied: numpy')).toBeNull();
  });
});

describe('what runs after an uninstall', () => {
  it('ends the engines that served this extension, as they were started', async () => {
    const extension = await fs.mkdtemp(path.join(os.tmpdir(), 'green-code-test-'));
    await fs.mkdir(path.join(extension, 'dist'));
    const run = vi.fn<Run>(() => Promise.resolve(ok()));
    await endEngines(extension, run); // nothing ever ran
    expect(run).not.toHaveBeenCalled();
    const named = { python: '/opt/python', origin: 'setting', cwd: '/storage' } as const;
    const managed = { python: '/venv/bin/python', origin: 'managed', cwd: '/storage' } as const;
    for (const daemon of [named, managed, named]) {
      await noteDaemon(extension, daemon);
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
    expect(await gone(grandchild)).toBe(true);
  });

  it('that cannot be started say why', async () => {
    expect(await realRun('/no/such/program', [], { cwd })).toMatchObject({ code: null, stderr: expect.stringContaining('ENOENT') as string });
    expect(await realRun('a\0b', [], { cwd })).toMatchObject({ code: null, stderr: expect.stringContaining('null bytes') as string });
  });
});

/** True once the process has ended; one that waits for its parent to notice (a zombie) has ended too. */
async function gone(pid: number): Promise<boolean> {
  for (let attempt = 0; attempt < 100; attempt += 1) {
    const stat = await fs.readFile(`/proc/${pid}/stat`, 'utf8').catch(() => null);
    if (stat === null || stat.includes(') Z ')) {
      return true;
    }
    await new Promise((next) => setTimeout(next, 20));
  }
  return false;
}
