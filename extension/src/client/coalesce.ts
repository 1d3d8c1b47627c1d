/**
 * Runs work at most once at a time, with at most one further run waiting. Ten requests in a row make two runs: the first
 * request gets the result of the first run, the other nine that of the second.
 */
export class Coalesced {
  private running: Promise<void> | undefined;
  private waiting: Promise<void> | undefined;

  constructor(private readonly work: () => Promise<void>) {}

  request(): Promise<void> {
    if (this.running === undefined) {
      this.running = this.work().finally(() => (this.running = undefined));
      return this.running;
    }
    this.waiting ??= this.running
      .catch(() => undefined) // its own callers handle that failure
      .then(() => {
        this.waiting = undefined;
        return this.request();
      });
    return this.waiting;
  }
}
