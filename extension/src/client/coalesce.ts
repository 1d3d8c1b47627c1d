/** At most one run at a time and one waiting: ten requests in a row make two runs; the first gets its own result, the other nine the second's. */
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
      .catch(() => undefined) // that failure belongs to those who asked for it
      .then(() => {
        this.waiting = undefined;
        return this.request();
      });
    return this.waiting;
  }
}
