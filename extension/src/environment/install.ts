/**
 * Creates the managed environment. It is built in a partial folder and renamed once `doctor` passes, so a folder with the final
 * name is always complete. An attempt that fails or is cancelled leaves nothing. An existing environment is replaced: the
 * user sets up again because it is broken.
 *
 * Must not use the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { t } from '../l10n';
import { diskFull, isDiskFull, NEEDED_BYTES, otherFiles, pathsTooLong, unreachable } from './causes';
import { isClaimed } from './claims';
import { createdMs, isAbandoned, isCreatedElsewhere, isOtherVersion, moveIntoPlace, partialFolder, removeFolders, restore } from './folders';
import { findInterpreter, noInterpreterMessage, type Interpreter } from './interpreter';
import { doctorProblem, PipOutput } from './output';
import { StepProgress } from './progress';
import { pinned } from './pinned';
import { lastLine, run as realRun, type Run, type RunResult } from './processes';
import { exists, findWheel, managedFolder, pythonIn, type Home } from './resolve';
import { creationVariables, managedVariables } from './variables';

const POLL_MS = 1000;

export class InstallError extends Error {}
export class Cancelled extends Error {
  constructor() {
    super('Cancelled.');
  }
}

export interface InstallOptions extends Home {
  readonly signal: AbortSignal;
  readonly progress: (step: string) => void;
  readonly log: (line: string) => void;
  /** Ends what runs from the environment that is about to be replaced. */
  readonly release: () => Promise<void>;
  readonly run?: Run;
  readonly freeBytes?: (folder: string) => Promise<number>;
}

interface Options extends Required<Omit<InstallOptions, 'progress'>> {
  readonly progress: StepProgress;
}

/** Throws `InstallError` with the cause in words for the user, or `Cancelled`. */
export async function install(given: InstallOptions): Promise<void> {
  const { freeBytes = freeBytesIn } = given;
  const wheel = await findWheel(given.bundled);
  if (wheel === null) {
    throw new InstallError(t('setUp.noPackageInBuild'));
  }
  const progress = new StepProgress(given.progress, () => freeBytes(given.storage));
  try {
    await installWheel(wheel, { run: realRun, ...given, freeBytes, progress });
  } finally {
    progress.end();
  }
}

async function installWheel(wheel: string, options: Options): Promise<void> {
  const { storage, log, progress, release } = options;
  const final = await managedFolder(options, wheel);
  const partial = partialFolder(final);
  const temporary = path.join(partial, 'tmp');

  await fs.mkdir(storage, { recursive: true });
  await restore(final);
  await removeFolders(storage, log, isAbandoned);
  try {
    await fs.mkdir(temporary, { recursive: true }).catch(async (error: unknown) => {
      throw isDiskFull(String(error)) ? new InstallError(diskFull(storage, await options.freeBytes(storage))) : error;
    });
    if (await isCreatedMeanwhile(final, options)) {
      return;
    }
    const free = await options.freeBytes(storage);
    if (free < NEEDED_BYTES) {
      throw new InstallError(diskFull(storage, free));
    }
    const replaces = await exists(final);
    progress.begin(t('setUp.searchingPython'));
    const { found, rejected } = await findInterpreter(storage, options.run);
    if (found === null) {
      throw new InstallError(noInterpreterMessage(rejected));
    }
    await build(partial, found, wheel, temporary, options);
    await fs.rm(temporary, { recursive: true });
    if (replaces) {
      await release();
    }
    await moveIntoPlace(final, replaces);
  } finally {
    await fs.rm(partial, { recursive: true, force: true });
  }
  const isOther = isOtherVersion(path.basename(final));
  // An environment that another window runs from is removed by the next update.
  const isUnused = async (name: string) => isOther(name) && !(await isClaimed(path.join(storage, name)));
  await removeFolders(storage, log, isUnused);
}

async function build(partial: string, found: Interpreter, wheel: string, temporary: string, options: Options): Promise<void> {
  const { progress } = options;
  const env = creationVariables(temporary);
  const python = pythonIn(partial);
  progress.begin(t('setUp.creatingEnvironment'));
  await runStep(found.command, [...found.args, '-m', 'venv', partial], env, (cause) => t('setUp.environmentFailed', { cause }), options);
  progress.begin(t('setUp.searchingPackages'));
  await pipInstall(python, await pinned(wheel, []), temporary, options);
  progress.begin(t('setUp.checkingEnvironment'));
  await runStep(python, ['-m', 'green_code', 'doctor', '--json', '--without-model'], managedVariables(), (cause) => t('setUp.environmentBroken', { cause }), options);
}

/** `requirements`: pip's arguments that say what is installed; `temporary`: a folder for pip's own files. */
export async function pipInstall(python: string, requirements: readonly string[], temporary: string, options: Options): Promise<void> {
  const pip = ['-m', 'pip', 'install', '--no-input', '--disable-pip-version-check', '--progress-bar', 'off', ...requirements];
  await runStep(python, pip, creationVariables(temporary), (cause) => t('setUp.pipFailed', { cause }), options);
}

type Failure = (cause: string) => string;

async function runStep(command: string, args: readonly string[], env: NodeJS.ProcessEnv, failure: Failure, options: Options): Promise<void> {
  const { storage, signal, progress, log, run } = options;
  const output = new PipOutput();
  log(`> ${[command, ...args].join(' ')}`);
  const onLine = (line: string) => {
    log(line);
    const step = output.step(line);
    if (step !== null) {
      progress.begin(step.text, step.bytes);
    }
  };
  const result = await run(command, args, { cwd: storage, env, signal, onLine });
  if (signal.aborted) {
    throw new Cancelled();
  }
  if (result.code !== 0) {
    throw new InstallError(await stepFailure(result, failure, options));
  }
}

/** pip and doctor write English, whatever the user's language. */
async function stepFailure({ stdout, stderr }: RunResult, failure: Failure, { storage, freeBytes }: Options): Promise<string> {
  const output = stdout + stderr;
  if (isDiskFull(output)) {
    return diskFull(storage, await freeBytes(storage));
  }
  const last = lastLine(stderr) || lastLine(stdout);
  return pathsTooLong(output) ?? otherFiles(output) ?? unreachable(output, last) ?? failure(doctorProblem(stdout) ?? last);
}

/** Waits while an earlier window creates the same environment, which takes gigabytes. Returns whether it then exists. */
async function isCreatedMeanwhile(final: string, { signal, progress }: Options): Promise<boolean> {
  const before = await createdMs(final);
  let waits = false;
  while (await isCreatedElsewhere(final)) {
    if (!waits) {
      progress.begin(t('setUp.waitingForWindow'));
    }
    waits = true;
    await sleep(POLL_MS, undefined, { signal }).catch(() => {
      throw new Cancelled();
    });
  }
  return (await createdMs(final)) !== before && exists(pythonIn(final));
}

/** Of the disk of a folder, which exists. */
export async function freeBytesIn(folder: string): Promise<number> {
  const { bavail, bsize } = await fs.statfs(folder);
  return bavail * bsize;
}
