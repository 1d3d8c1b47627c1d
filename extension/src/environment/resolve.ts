/**
 * Which Python runs the front:
 *   1. `greenCode.pythonPath`, if it has the green_code package of this version (a wrong one is an error, not a fallback:
 *      who names an interpreter wants that one);
 *   2. the environment that Set Up made for this version;
 *   3. none yet: the user is asked to set up.
 *
 * Must not know: the editor's API.
 */
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { lastLine, run as realRun, type Run } from './processes';

export type Resolution =
  | { readonly kind: 'ready'; readonly python: string; readonly origin: 'setting' | 'managed' }
  | { readonly kind: 'missing' }
  | { readonly kind: 'wrong'; readonly message: string };

export interface ResolveOptions {
  readonly pythonPath: string;
  readonly storage: string;
  readonly version: string;
  readonly run?: Run;
  readonly exists?: (file: string) => boolean;
}

export async function resolve(options: ResolveOptions): Promise<Resolution> {
  const { storage, version, run = realRun, exists = fs.existsSync } = options;
  const named = expandHome(options.pythonPath.trim());
  if (named !== '') {
    return checkNamed(named, version, storage, run);
  }
  const python = managedPython(storage, version);
  return exists(python) ? { kind: 'ready', python, origin: 'managed' } : { kind: 'missing' };
}

/** The folder of the managed environment; its presence means that Set Up finished. */
export function managedFolder(storage: string, version: string): string {
  return path.join(storage, `venv-${version}`);
}

export function managedPython(storage: string, version: string): string {
  return pythonIn(managedFolder(storage, version));
}

export function pythonIn(environment: string): string {
  return process.platform === 'win32'
    ? path.join(environment, 'Scripts', 'python.exe')
    : path.join(environment, 'bin', 'python');
}

const PROBE = 'import green_code; print(green_code.__version__)';

async function checkNamed(python: string, version: string, cwd: string, run: Run): Promise<Resolution> {
  const wrong = (found: string): Resolution => ({
    kind: 'wrong',
    message:
      `greenCode.pythonPath is ${python}: ${found}. ` +
      'Install the green-code package of this version there, or clear the setting and run Green Code: Set Up.',
  });
  const result = await run(python, ['-c', PROBE], { cwd, timeoutMs: 20_000 });
  if (result.code === null) {
    return wrong(`it cannot be started (${lastLine(result.stderr) || 'no answer in 20 seconds'})`);
  }
  if (result.code !== 0) {
    const cause = lastLine(result.stderr);
    return wrong(cause.includes("No module named 'green_code'") ? 'it has no green-code package' : `it fails with "${cause}"`);
  }
  const found = result.stdout.trim();
  return found === version
    ? { kind: 'ready', python, origin: 'setting' }
    : wrong(`it has green-code ${found}, this extension needs ${version}`);
}

function expandHome(file: string): string {
  return file === '~' || file.startsWith('~/') || file.startsWith('~\\') ? path.join(os.homedir(), file.slice(1)) : file;
}
