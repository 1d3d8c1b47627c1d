/** How long to wait before the next start after a crash, and when to stop trying. Must not know: what crashed. */

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
const MOST_CRASHES = 6;
/** A front that has lived this long has recovered: earlier crashes no longer count. */
const FORGET_MS = 3 * 60_000;

export class Backoff {
  private crashes = 0;
  private last = Number.NEGATIVE_INFINITY;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Counts a crash. Milliseconds to wait, or null: enough, ask the user. */
  next(): number | null {
    const time = this.now();
    this.crashes = time - this.last > FORGET_MS ? 1 : this.crashes + 1;
    this.last = time;
    return this.crashes > MOST_CRASHES ? null : Math.min(FIRST_MS * 2 ** (this.crashes - 1), LONGEST_MS);
  }

  reset(): void {
    this.crashes = 0;
  }
}
