/**
 * Snooze: no suggestions in this window for a while. The front is told that suggestions are off. Nothing is written, so a
 * restart of the editor ends it as well.
 */
import * as vscode from 'vscode';

import { t } from '../l10n';
import { whole } from '../state/format';
import type { Store } from '../state/store';

const MINUTE_MS = 60_000;
/** What is offered, in minutes. */
const CHOICES = [5, 15, 60, Infinity] as const;

export class Snooze implements vscode.Disposable {
  private timer: NodeJS.Timeout | undefined;
  private until = 0;

  /** `onSwitch`: suggestions have just gone or returned. */
  constructor(
    private readonly store: Store,
    private readonly onSwitch: () => void,
  ) {}

  start(minutes: number): void {
    this.until = Date.now() + minutes * MINUTE_MS;
    this.count();
    this.onSwitch();
  }

  resume(): void {
    this.dispose();
    this.store.update({ snooze: null });
    this.onSwitch();
  }

  dispose(): void {
    clearTimeout(this.timer);
  }

  /** Notes the minutes left, once a minute. The clock decides, because a timer stands still while the machine sleeps. */
  private count(): void {
    clearTimeout(this.timer);
    const left = this.until - Date.now();
    if (left <= 0) {
      this.resume();
      return;
    }
    const minutes = Math.ceil(left / MINUTE_MS);
    this.store.update({ snooze: minutes });
    if (minutes !== Infinity) {
      this.timer = setTimeout(() => this.count(), left - (minutes - 1) * MINUTE_MS);
    }
  }
}

/** How long to snooze, in minutes; undefined if the user closes the list. */
export async function pickSnooze(): Promise<number | undefined> {
  const choices = CHOICES.map((minutes) => ({ label: durationText(minutes), minutes }));
  return (await vscode.window.showQuickPick(choices, { title: t('snooze.title'), placeHolder: t('snooze.thisWindow') }))?.minutes;
}

function durationText(minutes: (typeof CHOICES)[number]): string {
  switch (minutes) {
    case 60:
      return t('snooze.hour');
    case Infinity:
      return t('snooze.untilRestart');
    default:
      return t('snooze.minutes', { count: whole(minutes) });
  }
}
