/**
 * Which environments other windows run from: each leaves a file with its process's number there. After an update of the
 * extension they go on with the one that they began with until they are reloaded. Must not know: the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { bootMs, isAlive } from './processes';

const CLAIM = /^window-(\d+)$/;

/** This window runs from it. Claims of windows that are gone are removed. */
export async function claim(environment: string): Promise<void> {
  await fs.writeFile(claimOf(environment), '');
  await livingClaims(environment);
}

/** This window runs from it no longer. */
export async function unclaim(environment: string): Promise<void> {
  await fs.rm(claimOf(environment), { force: true });
}

/** Whether another window, which is still there, runs from it. */
export async function isClaimed(environment: string): Promise<boolean> {
  return (await livingClaims(environment)).some((pid) => pid !== process.pid);
}

const claimOf = (environment: string): string => path.join(environment, `window-${process.pid}`);

/** A claim from before this boot is nobody's. */
async function livingClaims(environment: string): Promise<readonly number[]> {
  const booted = bootMs();
  const living: number[] = [];
  for (const name of await fs.readdir(environment).catch(() => [])) {
    const pid = Number(CLAIM.exec(name)?.[1] ?? NaN);
    if (pid > 0) {
      const file = path.join(environment, name);
      const since = await fs.stat(file).then(({ mtimeMs }) => mtimeMs, () => 0);
      if (since > booted && isAlive(pid)) {
        living.push(pid);
      } else {
        await fs.rm(file, { force: true });
      }
    }
  }
  return living;
}
