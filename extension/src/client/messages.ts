/** Messages about the language server, with their buttons. */
import { notSetUp } from '../environment/daemon';
import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { messageOf, type Action, type Channels } from '../log';
import { openSetting } from '../settings';
import type { Snapshot } from '../state/store';

export const noAnswer = (): string => t('engine.noAnswer');
export const endedUnexpectedly = (): string => t('engine.endedUnexpectedly');

/** Why no front runs. Callers that show it add the product's name. */
export function whyNotRunning({ phase, detail, settings }: Snapshot): string {
  switch (phase) {
    case 'idle':
      return settings.enabled ? t('engine.notRunningYet') : t('why.disabled');
    case 'setUp':
      return notSetUp();
    case 'settingUp':
      return t('engine.setUpStillRuns');
    case 'starting':
      return t('engine.starting');
    default:
      return detail || t('engine.notRunning');
  }
}

const restart = (): Action => ({ title: t('engine.restart'), command: COMMANDS.restartEngine });
const setUp = (): Action => ({ title: t('setUp.setUp'), command: COMMANDS.setUp });
const setUpAgain = (): Action => ({ title: t('common.setUpAgain'), command: COMMANDS.setUp });

export function showStartFailure(channels: Channels, error: unknown): void {
  channels.showError(t('engine.couldNotStart', { cause: messageOf(error) }), [restart()]);
}

export function showWrongInterpreter(channels: Channels, message: string): void {
  channels.showError(message, [openSetting('pythonPath'), setUp()]); // Set Up asks whether to clear the setting
}

/** Shown when no further restart follows. Returns the message for the status item. */
export function showCrashes(channels: Channels, cause: string, isManaged: boolean): string {
  const message = t('engine.failsRepeatedly', { cause });
  channels.showError(`Green Code: ${message}`, [restart(), ...(isManaged ? [setUpAgain()] : [])], 'engine');
  return message;
}
