/**
 * Makes the managed environment. It grows beside its final place and is renamed there only when `doctor` is content, so
 * a folder of that name is always a whole one; a cancelled or failed attempt leaves nothing. One that was there before
 * is replaced: who sets up again has a broken one.
 *
 * Must not know: the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { t } from '../l10n';
import { NEEDED_BYTES, noRoom, pathsTooLong, saysFull, unreachable } from './causes';
import { isClaimed } from './claims';
import { findInterpreter, noInterpreterMessage } from './interpreter';
import { bootMs, isAlive, lastLine, run as realRun, type Run, type RunResult } from './processes';
import { exists, findWheel, managedFolder, pythonIn, type Home } from './resolve';
import { makingVariables, managedVariables } from './variables';

const [POLL_MS, LONGEST_MS] = [1000, 3_600_000]; // no attempt takes so long

export class InstallError extends Error {}
export class Cancelled extends Error {}

export interface InstallOptions extends Home {
  readonly signal: AbortSignal;
  readonly progress: (step: string) => void;
  readonly log: (line: string) => void;
  /** Ends what runs from the environment that is about to be replaced. */
  readonly release: () => Promise<void>;
  readonly run?: Run;
  readonly freeBytes?: (folder: string) => Promise<number>;
}

export async function install(options: InstallOptions): Promise<void> {
  const { storage, bundled, signal, progress, log, release, run = realRun, freeBytes = freeBytesIn } = options;
  const wheel = await findWheel(bundled);
  if (wheel === null) {
    throw new InstallError(t('This build carries no Python package. Set greenCode.pythonPath to an interpreter that has green-code.'));
  }
  const final = await managedFolder(options, wheel);
  const partial = `${final}.partial-${process.pid}`;
  const temporary = path.join(partial, 'tmp');
  const making = makingVariables(temporary);
  const step = async (command: string, args: readonly string[], env: NodeJS.ProcessEnv, failure: (cause: string) => string): Promise<RunResult> => {
    log(`> ${[command, ...args].join(' ')}`);
    const onLine = (line: string) => {
      log(line);
      const shown = describe(line);
      if (shown !== null) {
        progress(shown);
      }
    };
    const result = await run(command, args, { cwd: storage, env, signal, onLine });
    if (signal.aborted) {
      throw new Cancelled('Cancelled.');
    }
    if (result.code !== 0) {
      const lastWords = lastLine(result.stderr) || lastLine(result.stdout);
      const output = result.stdout + result.stderr;
      throw new InstallError(
        saysFull(output)
          ? noRoom(storage, await freeBytes(storage))
          : (pathsTooLong(output) ?? unreachable(output, lastWords) ?? failure(doctorProblem(result.stdout) ?? lastWords)), // pip and doctor speak English, to every user
      );
    }
    return result;
  };

  await fs.mkdir(storage, { recursive: true });
  await removeFolders(storage, isAbandoned);
  try {
    await fs.mkdir(temporary, { recursive: true }).catch(async (error: unknown) => {
      throw saysFull(String(error)) ? new InstallError(noRoom(storage, await freeBytes(storage))) : error;
    });
    if (await madeMeanwhile(final, partial, signal, progress)) {
      return;
    }
    const free = await freeBytes(storage);
    if (free < NEEDED_BYTES) {
      throw new InstallError(noRoom(storage, free));
    }
    const replaces = await exists(final);
    progress(t('Looking for Python'));
    const { found, rejected } = await findInterpreter(storage, run);
    if (found === null) {
      throw new InstallError(noInterpreterMessage(rejected));
    }
    progress(t('Making the environment'));
    await step(found.command, [...found.args, '-m', 'venv', partial], making, (cause) => t('The environment could not be made: {cause}', { cause }));
    progress(t('Looking for the packages'));
    const python = pythonIn(partial);
    const pip = ['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--progress-bar', 'off'];
    await step(python, [...pip, `${wheel}[model,gpu]`], making, (cause) => t('pip could not install the packages: {cause}', { cause }));
    progress(t('Checking'));
    await step(python, ['-m', 'green_code', 'doctor', '--json'], managedVariables(), (cause) => t('The new environment does not work: {cause}', { cause }));
    await fs.rm(temporary, { recursive: true });
    if (replaces) {
      await release();
    }
    await moveIntoPlace(partial, final, replaces);
  } finally {
    await fs.rm(partial, { recursive: true, force: true });
  }
  const isOther = isAnother(path.basename(final));
  // One that another window runs from goes with the next update.
  const isUnused = async (name: string) => isOther(name) && !(await isClaimed(path.join(storage, name)));
  await removeFolders(storage, isUnused).catch((error: unknown) => log(`An older environment stays: ${String(error)}`));
}

/** Waits while windows that began earlier make the same environment, which takes gigabytes each time; whether it is there then. */
async function madeMeanwhile(final: string, partial: string, signal: AbortSignal, progress: (step: string) => void): Promise<boolean> {
  const before = await begun(final);
  while (await isBegunEarlier(final, partial)) {
    progress(t('Another window is setting up'));
    await sleep(POLL_MS, undefined, { signal }).catch(() => {
      throw new Cancelled('Cancelled.');
    });
  }
  return (await begun(final)) !== before && exists(pythonIn(final));
}

async function isBegunEarlier(final: string, partial: string): Promise<boolean> {
  const storage = path.dirname(final);
  const oldest = Math.max(bootMs(), Date.now() - LONGEST_MS);
  const own = await begun(partial);
  for (const name of await fs.readdir(storage)) {
    const pid = Number(PARTIAL.exec(name)?.[1] ?? NaN);
    if (name === `${path.basename(final)}.partial-${pid}` && pid !== process.pid && isAlive(pid)) {
      const other = await begun(path.join(storage, name));
      if (other > oldest && (other < own || (other === own && pid < process.pid))) {
        return true;
      }
    }
  }
  return false;
}

const begun = (folder: string): Promise<number> => fs.stat(folder).then(({ birthtimeMs }) => birthtimeMs, () => Infinity);

/** Two windows may set up at once all the same: the first to finish wins, and the other has what it wanted. */
async function moveIntoPlace(partial: string, final: string, replaces: boolean): Promise<void> {
  const old = `${partial}.old`;
  if (replaces) {
    await fs.rename(final, old);
  }
  try {
    await fs.rename(partial, final);
  } catch (error) {
    if (!(await exists(pythonIn(final)))) {
      if (replaces) {
        await fs.rename(old, final); // what worked before works again
      }
      throw error;
    }
  } finally {
    await fs.rm(old, { recursive: true, force: true });
  }
}

async function freeBytesIn(folder: string): Promise<number> {
  const { bavail, bsize } = await fs.statfs(folder);
  return bavail * bsize;
}

const PARTIAL = /^venv-.*\.partial-(\d+)(\.old)?$/;

/** An attempt whose window is gone; one with this process's number is another's, from before a reboot. */
function isAbandoned(name: string): boolean {
  const pid = Number(PARTIAL.exec(name)?.[1] ?? NaN);
  return pid === process.pid || (pid > 0 && !isAlive(pid));
}

/** Whole environments but the one of this name: those that other versions of the extension have made. */
const isAnother = (current: string) => (name: string) => name.startsWith('venv-') && !PARTIAL.test(name) && name !== current;

/** Whether another version was set up here. */
export async function hasAnother(storage: string, current: string): Promise<boolean> {
  return (await fs.readdir(storage).catch(() => [])).some(isAnother(current));
}

async function removeFolders(storage: string, isUnwanted: (name: string) => boolean | Promise<boolean>): Promise<void> {
  for (const name of await fs.readdir(storage)) {
    if (await isUnwanted(name)) {
      await fs.rm(path.join(storage, name), { recursive: true, force: true });
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
    return t('Downloading {name}, {size}', { name: downloading[1] ?? '', size: downloading[2] ?? '' });
  }
  const collecting = /^Collecting ([\w.-]+)/.exec(line);
  if (collecting) {
    return t('Collecting {name}', { name: collecting[1] ?? '' });
  }
  if (line.includes('WARNING: Retrying')) {
    return t('The package index does not answer; trying again');
  }
  return line.startsWith('Installing collected packages') ? t('Installing') : null;
}
