/** An end to waiting: a process that hangs answers nobody. Must not know: the editor's API. */

/** Rejects with `late` when `work` takes longer; work itself goes on. */
export async function within<T>(ms: number, work: Promise<T>, late: Error): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const deadline = new Promise<never>((_, reject) => (timer = setTimeout(() => reject(late), ms)));
  try {
    return await Promise.race([work, deadline]);
  } finally {
    clearTimeout(timer);
  }
}

export class Late extends Error {}
