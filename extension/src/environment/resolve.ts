/**
 * Which Python runs the front:
 *   1. `greenCode.pythonPath`, if it has the green_code package of this version (a wrong one is an error, not a fallback:
 *      who names an interpreter wants that one);
 *   2. the environment that Set Up made from this extension's wheel;
 *   3. none yet: the user is asked to set up.
 *
 * Must not know: the editor's API.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

import { t } from '../l10n';
import { lastLine, run as realRun, type Run } from './processes';

export type Resolution =
  | { readonly kind: 'ready'; readonly python: string; readonly origin: 'setting' }
  | { readonly kind: 'ready'; readonly python: string; readonly origin: 'managed'; readonly folder: string }
  | { readonly kind: 'missing'; readonly name: string }
  | { readonly kind: 'wrong'; readonly message: string };

/** Where the managed environment lives, and what it is made from. */
export interface Home {
  readonly storage: string;
  readonly version: string;
  /** The folder of the extension that carries the wheel. */
  readonly bundled: string;
}

export interface ResolveOptions extends Home {
  readonly pythonPath: string;
  readonly run?: Run;
}

export async function resolve(options: ResolveOptions): Promise<Resolution> {
  const { storage, version, run = realRun } = options;
  const named = expandHome(options.pythonPath.trim());
  if (named !== '') {
    return checkNamed(named, version, storage, run);
  }
  const wheel = await findWheel(options.bundled);
  if (wheel === null) {
    return { kind: 'missing', name: version };
  }
  const folder = await managedFolder(options, wheel);
  const python = pythonIn(folder);
  return (await exists(python)) ? { kind: 'ready', python, origin: 'managed', folder } : { kind: 'missing', name: path.basename(folder) };
}

export const exists = (file: string): Promise<boolean> => fs.stat(file).then(() => true, () => false);

/** The wheel that the extension carries; null where this build has none. */
export async function findWheel(bundled: string): Promise<string | null> {
  const names = await fs.readdir(bundled).catch(() => []);
  const name = names.find((each) => each.endsWith('.whl'));
  return name === undefined ? null : path.join(bundled, name);
}

/**
 * The folder of the managed environment; its presence means that Set Up finished. The wheel is part of its name: a build
 * of the same version may carry another daemon, which must not be taken for this one.
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

async function checkNamed(python: string, version: string, cwd: string, run: Run): Promise<Resolution> {
  const wrong = (cause: string): Resolution => ({
    kind: 'wrong',
    message: `${cause} ${t('Install the green-code package of this version there, or clear the setting and run Green Code: Set Up.')}`,
  });
  const result = await run(python, ['-c', PROBE], { cwd, timeoutMs: 20_000 });
  if (result.code === null) {
    const cause = lastLine(result.stderr) || t('no answer in 20 seconds');
    return wrong(t('greenCode.pythonPath is {python}: it cannot be started ({cause}).', { python, cause }));
  }
  if (result.code !== 0) {
    const cause = lastLine(result.stderr);
    return wrong(
      cause.includes("No module named 'green_code'")
        ? t('greenCode.pythonPath is {python}: it has no green-code package.', { python })
        : t('greenCode.pythonPath is {python}: it fails with "{cause}".', { python, cause }),
    );
  }
  const found = result.stdout.trim();
  return found === version
    ? { kind: 'ready', python, origin: 'setting' }
    : wrong(t('greenCode.pythonPath is {python}: it has green-code {found}, this extension needs {version}.', { python, found, version }));
}

function expandHome(file: string): string {
  return file === '~' || file.startsWith('~/') || file.startsWith('~\\') ? path.join(os.homedir(), file.slice(1)) : file;
}
