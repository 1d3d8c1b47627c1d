/**
 * Which environments windows run from: each window leaves a file with its process id there. After an update of the extension,
 * a window continues with its old environment until it is reloaded. Must not use the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { bootMs, isAlive } from './processes';

const CLAIM = /^window-(\d+)$/;

/** Marks the environment as used by this window, and removes the claims of windows that have ended. */
export async function claim(environment: string): Promise<void> {
  await fs.writeFile(claimFile(environment), '');
  await activeClaims(environment);
}

export async function unclaim(environment: string): Promise<void> {
  await fs.rm(claimFile(environment), { force: true });
}

/** Whether another window runs from the environment. */
export async function isClaimed(environment: string): Promise<boolean> {
  return (await activeClaims(environment)).some((pid) => pid !== process.pid);
}

const claimFile = (environment: string): string => path.join(environment, `window-${process.pid}`);

/** The process ids of running windows. Removes other claims; one from before the last boot is no longer valid. */
async function activeClaims(environment: string): Promise<readonly number[]> {
  const booted = bootMs();
  const active: number[] = [];
  for (const name of await fs.readdir(environment).catch(() => [])) {
    const pid = Number(CLAIM.exec(name)?.[1] ?? NaN);
    if (pid > 0) {
      const file = path.join(environment, name);
      const since = await fs.stat(file).then(({ mtimeMs }) => mtimeMs, () => 0);
      if (since > booted && isAlive(pid)) {
        active.push(pid);
      } else {
        await fs.rm(file, { force: true });
      }
    }
  }
  return active;
}
