/**
 * Which environments other windows run from: each leaves a file with its process's number there. After an update of the
 * extension they go on with the one that they began with until they are reloaded. Must not know: the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { isAlive } from './processes';

const CLAIM = /^window-(\d+)$/;

/** This window runs from it. */
export async function claim(environment: string): Promise<void> {
  await fs.writeFile(path.join(environment, `window-${process.pid}`), '');
}

/** Whether another window, which is still there, runs from it. */
export async function isClaimed(environment: string): Promise<boolean> {
  const names = await fs.readdir(environment).catch(() => []);
  return names.map((name) => Number(CLAIM.exec(name)?.[1] ?? NaN)).some((pid) => pid !== process.pid && pid > 0 && isAlive(pid));
}
