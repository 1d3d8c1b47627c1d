/** A time limit for a promise: a process that hangs never answers. Must not use the editor's API. */

export class TimedOut extends Error {}

/** Rejects with `error` when `work` takes longer than `ms`. The work itself continues. */
export async function withTimeout<T>(ms: number, work: Promise<T>, error: TimedOut): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(error), ms)));
  try {
    return await Promise.race([work, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
