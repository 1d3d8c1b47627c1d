/** Runs an action at once, then at most once per interval. The last call of a burst always runs. */
export class Throttle {
  private timer: ReturnType<typeof setTimeout> | undefined;
  private waiting = false;

  constructor(
    private readonly action: () => void,
    private readonly intervalMs: number,
  ) {}

  request(): void {
    if (this.timer !== undefined) {
      this.waiting = true;
      return;
    }
    this.action();
    this.timer = setTimeout(() => this.elapsed(), this.intervalMs);
  }

  dispose(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.waiting = false;
  }

  private elapsed(): void {
    this.timer = undefined;
    if (this.waiting) {
      this.waiting = false;
      this.request();
    }
  }
}
