/** The delay before a restart after a crash, and when to give up. */

const FIRST_MS = 500;
const LONGEST_MS = 30_000;
const MAX_CRASHES = 6;
/** A front that has run this long has recovered: earlier crashes no longer count. */
const RECOVERED_MS = 3 * 60_000;

export class Backoff {
  private crashes = 0;
  private lastCrash = Number.NEGATIVE_INFINITY;

  constructor(private readonly now: () => number = () => performance.now()) {}

  /** Counts a crash. Returns the delay in milliseconds, or null after too many crashes. */
  next(): number | null {
    const time = this.now();
    this.crashes = time - this.lastCrash > RECOVERED_MS ? 1 : this.crashes + 1;
    this.lastCrash = time;
    return this.crashes > MAX_CRASHES ? null : Math.min(FIRST_MS * 2 ** (this.crashes - 1), LONGEST_MS);
  }

  reset(): void {
    this.crashes = 0;
  }
}
