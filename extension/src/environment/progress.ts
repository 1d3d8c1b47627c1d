/**
 * The progress of Set Up as the user sees it: it never stands still, and changes at most once a second. Beside the step it shows
 * the time that the step has taken, and what was written to the disk meanwhile: pip itself is silent for minutes.
 *
 * Must not use the editor's API.
 */
import { t } from '../l10n';
import { fileSize } from '../state/format';

export const TICK_MS = 1000;

/** `bytes`: how many the step writes, about; null: too few to show. */
export interface Step {
  readonly text: string;
  readonly bytes: number | null;
}

export class StepProgress {
  private step: Step | null = null;
  private began = 0;
  private shownAt = -Infinity;
  private freeBefore: Promise<number> = Promise.resolve(0);
  private readonly timer = setInterval(() => void this.show(), TICK_MS);

  /** `freeBytes`: of the disk that is written to. */
  constructor(
    private readonly report: (message: string) => void,
    private readonly freeBytes: () => Promise<number>,
  ) {}

  begin(text: string, bytes: number | null = null): void {
    this.step = { text, bytes };
    this.began = Date.now();
    if (bytes !== null) {
      this.freeBefore = this.freeBytes();
      this.freeBefore.catch(() => undefined); // shown without bytes
    }
    if (this.began - this.shownAt >= TICK_MS) {
      this.shownAt = this.began;
      this.report(text);
    }
  }

  end(): void {
    clearInterval(this.timer);
  }

  private async show(): Promise<void> {
    const { step } = this;
    if (Date.now() - this.shownAt < 0.9 * TICK_MS) {
      return; // a new step has just been shown
    }
    const written = await this.written(step);
    if (step === null || step !== this.step) {
      return;
    }
    const elapsed = Math.round((Date.now() - this.began) / 1000);
    const time = `${Math.floor(elapsed / 60)}:${String(elapsed % 60).padStart(2, '0')}`;
    this.shownAt = Date.now();
    this.report(
      step.bytes === null || written === null
        ? t('setUp.stepTime', { step: step.text, time })
        : t('setUp.stepBytes', { step: step.text, time, done: fileSize(written), total: fileSize(Math.max(step.bytes, written)) }),
    );
  }

  private async written(step: Step | null): Promise<number | null> {
    try {
      return step?.bytes == null ? null : Math.max(0, (await this.freeBefore) - (await this.freeBytes()));
    } catch {
      return null;
    }
  }
}
