/**
 * Which Python runs the front:
 *   1. `greenCode.pythonPath`, if it has the green_code package of this version. A wrong one is an error, not a fallback:
 *      a user who sets an interpreter expects that one.
 *   2. The managed environment: the one that Set Up created from this extension's wheel.
 *   3. None yet: the user is asked to set up.
 *
 * Must not use the editor's API.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { t } from '../l10n';
import { noAnswerIn } from './causes';
import { restore } from './folders';
import { lastLine, PROBE_TIMEOUT_MS, run as realRun, type Run } from './processes';

export type Ready =
  | { readonly kind: 'ready'; readonly python: string; readonly origin: 'setting' }
  | { readonly kind: 'ready'; readonly python: string; readonly origin: 'managed'; readonly folder: string };

export type Resolution = Ready | { readonly kind: 'missing'; readonly name: string } | { readonly kind: 'wrong'; readonly message: string };

/** The folder of the managed environments, and the wheel they are created from. */
export interface Home {
  readonly storage: string;
  readonly version: string;
  /** The folder of the extension that carries the wheel. */
  readonly bundled: string;
}

interface ResolveOptions extends Home {
  readonly pythonPath: string;
  readonly run?: Run;
}

export async function resolve(options: ResolveOptions): Promise<Resolution> {
  const { storage, version, run = realRun } = options;
  const configured = expandHome(options.pythonPath.trim());
  if (configured !== '') {
    return checkConfigured(configured, version, storage, run);
  }
  const wheel = await findWheel(options.bundled);
  if (wheel === null) {
    return { kind: 'missing', name: version };
  }
  const folder = await managedFolder(options, wheel);
  const python = pythonIn(folder);
  await restore(folder);
  return (await exists(python)) ? { kind: 'ready', python, origin: 'managed', folder } : { kind: 'missing', name: path.basename(folder) };
}

export const exists = (file: string): Promise<boolean> => fs.stat(file).then(() => true, () => false);

/** The wheel in the extension; null if this build has none. */
export async function findWheel(bundled: string): Promise<string | null> {
  const names = await fs.readdir(bundled).catch(() => []);
  const name = names.find((each) => each.endsWith('.whl'));
  return name === undefined ? null : path.join(bundled, name);
}

/**
 * The folder of the managed environment. If it exists, Set Up has finished. Its name has the wheel's digest, because another
 * build of the same version may contain another daemon.
 */
export async function managedFolder({ storage, version }: Home, wheel: string): Promise<string> {
  const digest = createHash('sha256').update(await fs.readFile(wheel)).digest('hex').slice(0, 8);
  return path.join(storage, `venv-${version}-${digest}`);
}

export function pythonIn(environment: string): string {
  return process.platform === 'win32'
    ? path.join(environment, 'Scripts', 'python.exe')
    : path.join(environment, 'bin', 'python');
}

const PROBE = 'import green_code; print(green_code.__version__)';

async function checkConfigured(python: string, version: string, cwd: string, run: Run): Promise<Resolution> {
  const wrong = (cause: string): Resolution => ({
    kind: 'wrong',
    message: `${cause} ${t('interpreter.fix')}`,
  });
  const result = await run(python, ['-c', PROBE], { cwd, timeoutMs: PROBE_TIMEOUT_MS });
  if (result.code === null) {
    const cause = lastLine(result.stderr) || noAnswerIn(PROBE_TIMEOUT_MS);
    return wrong(t('interpreter.cannotStart', { python, cause }));
  }
  if (result.code !== 0) {
    const cause = lastLine(result.stderr);
    return wrong(
      cause.includes("No module named 'green_code'")
        ? t('interpreter.noPackage', { python })
        : t('interpreter.fails', { python, cause }),
    );
  }
  const found = result.stdout.trim();
  return found === version
    ? { kind: 'ready', python, origin: 'setting' }
    : wrong(t('interpreter.otherVersion', { python, found, version }));
}

function expandHome(file: string): string {
  return file === '~' || file.startsWith('~/') || file.startsWith('~\\') ? path.join(os.homedir(), file.slice(1)) : file;
}
