/**
 * The folders of managed environments: whole ones, and partial ones, which carry the process id of the window that creates
 * them. Must not use the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { bootMs, isAlive } from './processes';
import { exists, pythonIn } from './resolve';

/** No attempt takes longer. */
const LONGEST_ATTEMPT_MS = 3_600_000;
const PARTIAL = /^venv-.*\.partial-(\d+)(\.old)?$/;
const pidOf = (name: string): number => Number(PARTIAL.exec(name)?.[1] ?? NaN);

export const partialFolder = (final: string): string => `${final}.partial-${process.pid}`;

/** When a folder was created; Infinity if it does not exist. */
export const createdMs = (folder: string): Promise<number> => fs.stat(folder).then(({ birthtimeMs }) => birthtimeMs, () => Infinity);

/** Whether another window began to create the same environment before this one. */
export async function isCreatedElsewhere(final: string): Promise<boolean> {
  const storage = path.dirname(final);
  const oldest = Math.max(bootMs(), Date.now() - LONGEST_ATTEMPT_MS);
  const own = await createdMs(partialFolder(final));
  for (const name of await fs.readdir(storage)) {
    const pid = pidOf(name);
    if (name === `${path.basename(final)}.partial-${pid}` && pid !== process.pid && isAlive(pid)) {
      const other = await createdMs(path.join(storage, name));
      if (other > oldest && (other < own || (other === own && pid < process.pid))) {
        return true;
      }
    }
  }
  return false;
}

/** Two windows may still finish at once: the first one wins, and the second one uses its environment. */
export async function moveIntoPlace(final: string, replaces: boolean): Promise<void> {
  const partial = partialFolder(final);
  const old = `${partial}.old`;
  if (replaces) {
    await fs.rename(final, old);
  }
  try {
    await fs.rename(partial, final);
  } catch (error) {
    if (!(await exists(pythonIn(final)))) {
      if (replaces) {
        await fs.rename(old, final); // the previous environment works again
      }
      throw error;
    }
  } finally {
    await fs.rm(old, { recursive: true, force: true });
  }
}

/** Puts back an environment that was moved aside by a window that was killed before the new one took its place. */
export async function restore(final: string): Promise<void> {
  const [storage, name] = [path.dirname(final), path.basename(final)];
  if (await exists(final)) {
    return;
  }
  for (const aside of await fs.readdir(storage).catch(() => [])) {
    if (aside.startsWith(name) && aside.endsWith('.old') && isAbandoned(aside) && (await exists(pythonIn(path.join(storage, aside))))) {
      await fs.rename(path.join(storage, aside), final).catch(() => undefined); // another window was faster
    }
  }
}

/** Whether a window was killed while it created the environment: its user has agreed to that. */
export const wasInterrupted = async (storage: string, environment: string): Promise<boolean> =>
  (await fs.readdir(storage).catch(() => [])).some((name) => name.startsWith(`${environment}.partial-`) && isAbandoned(name));

/** A partial folder whose window has ended. One with this process's id is from before a reboot. */
export function isAbandoned(name: string): boolean {
  const pid = pidOf(name);
  return pid === process.pid || (pid > 0 && !isAlive(pid));
}

/** Whole environments except the current one: those of other versions of the extension. */
export const isOtherVersion = (current: string) => (name: string) => name.startsWith('venv-') && !PARTIAL.test(name) && name !== current;

export async function hasOtherVersion(storage: string, current: string): Promise<boolean> {
  return (await fs.readdir(storage).catch(() => [])).some(isOtherVersion(current));
}

/** What cannot be removed now is removed by the next attempt: the pip of a killed window may still write to its folder. */
export async function removeFolders(storage: string, log: (line: string) => void, isUnwanted: (name: string) => boolean | Promise<boolean>): Promise<void> {
  for (const name of await fs.readdir(storage)) {
    if (await isUnwanted(name)) {
      await fs.rm(path.join(storage, name), { recursive: true, force: true }).catch((error: unknown) => log(`${name} stays for now: ${String(error)}`));
    }
  }
}
