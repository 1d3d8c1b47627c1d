import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { Run, RunResult } from '../../src/environment/processes';
import { managedFolder, pythonIn, resolve, type Home } from '../../src/environment/resolve';
import { daemonVariables } from '../../src/environment/variables';
import { t } from '../../src/l10n';
import { failed, never, ok, wheelIn } from './results';

const answering = (result: RunResult): Run => () => Promise.resolve(result);

describe('which Python runs the front', () => {
  let root: string;
  let options: Home;
  const writeWheel = (text: string) => fs.writeFile(wheelIn(options), text);
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
    await writeWheel('one');
  });
  afterEach(() => fs.rm(root, { recursive: true }));

  it('uses the configured interpreter first, even where a managed environment exists', async () => {
    await setUp();
    const result = await resolve({ ...options, pythonPath: ' /opt/python ', run: answering(ok('0.1.0\n')) });
    expect(result).toEqual({ kind: 'ready', python: '/opt/python', origin: 'setting' });
  });

  it('then the managed environment of this wheel, without starting it', async () => {
    const python = await setUp();
    expect(await resolve({ ...options, pythonPath: '', run: never })).toEqual({ kind: 'ready', python, origin: 'managed', folder: path.dirname(path.dirname(python)) });
  });

  it('then needs Set Up, also where another build of this version was set up', async () => {
    const missing = await resolve({ ...options, pythonPath: '', run: never });
    expect(missing).toMatchObject({ kind: 'missing' });
    await setUp();
    await writeWheel('two');
    const rebuilt = await resolve({ ...options, pythonPath: '', run: never });
    expect(rebuilt).toMatchObject({ kind: 'missing' });
    expect(rebuilt).not.toEqual(missing); // so that it is offered again
  });

  it('needs Set Up where the build has no wheel', async () => {
    await fs.rm(options.bundled, { recursive: true });
    expect(await resolve({ ...options, pythonPath: '', run: never })).toMatchObject({ kind: 'missing' });
  });

  it('removes variables for other Pythons for the managed environment, not for a configured interpreter', () => {
    const user = { PATH: '/bin', PYTHONPATH: '/old', PYTHONHOME: '/odd', PYTHONUTF8: '1' };
    expect(daemonVariables('managed', '/bundles', user)).toEqual({ PATH: '/bin', PYTHONUTF8: '1', PYTHONIOENCODING: 'utf-8', GREEN_CODE_BUNDLES: '/bundles' });
    expect(daemonVariables('setting', '/bundles', user)).toEqual({ ...user, PYTHONIOENCODING: 'utf-8', GREEN_CODE_BUNDLES: '/bundles' });
  });

  it.each([
    ['another version', ok('0.0.9\n'), t('interpreter.otherVersion', { python: '/opt/python', found: '0.0.9', version: '0.1.0' })],
    ['no package', failed("ModuleNotFoundError: No module named 'green_code'"), t('interpreter.noPackage', { python: '/opt/python' })],
    ['no interpreter', failed('spawn /opt/python ENOENT', null), t('interpreter.cannotStart', { python: '/opt/python', cause: 'spawn /opt/python ENOENT' })],
    ['a broken one', failed('Traceback\nImportError: libssl'), t('interpreter.fails', { python: '/opt/python', cause: 'ImportError: libssl' })],
    ['no answer', failed('', null), t('interpreter.cannotStart', { python: '/opt/python', cause: t('setUp.noAnswer', { seconds: '20' }) })],
  ])('gives the cause and the fix for %s, and does not fall back', async (_, answer, cause) => {
    await setUp();
    const result = await resolve({ ...options, pythonPath: '/opt/python', run: answering(answer) });
    expect(result).toEqual({ kind: 'wrong', message: `${cause} ${t('interpreter.fix')}` });
  });
});
