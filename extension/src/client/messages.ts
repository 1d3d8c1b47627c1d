/** Messages about the language server, with their buttons. */
import { notSetUp } from '../environment/daemon';
import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { messageOf, type Action, type Channels } from '../log';
import { openSetting } from '../settings';
import type { Snapshot } from '../state/store';

export const noAnswer = (): string => t('The language server does not answer. Run Green Code: Restart Engine.');
export const endedUnexpectedly = (): string => t('the process ended unexpectedly');

/** Why no front runs. Callers that show it add the product's name. */
export function whyNotRunning({ phase, detail, settings }: Snapshot): string {
  switch (phase) {
    case 'idle':
      return settings.enabled
        ? t('The language server is not running yet. It starts when you open a file in a chosen language (greenCode.languages).')
        : t('The language server is not running because suggestions are off (greenCode.enabled).');
    case 'setUp':
      return notSetUp();
    case 'settingUp':
      return t('Set Up is still running. Try again when it has finished.');
    case 'starting':
      return t('The language server is starting. Try again in a moment.');
    default:
      return detail || t('The language server is not running.');
  }
}

const restart = (): Action => ({ title: t('Restart'), command: COMMANDS.restartEngine });
const setUpAgain = (): Action => ({ title: t('Set Up Again'), command: COMMANDS.setUp });

export function showStartFailure(channels: Channels, error: unknown): void {
  channels.showError(t('Green Code could not start: {cause}', { cause: messageOf(error) }), [restart()]);
}

export function showWrongInterpreter(channels: Channels, message: string): void {
  channels.showError(message, [openSetting('pythonPath')]);
}

/** Shown when no further restart follows. Returns the message for the status item. */
export function showCrashes(channels: Channels, cause: string, isManaged: boolean): string {
  const message = t('The language server fails repeatedly ({cause}).', { cause });
  channels.showError(`Green Code: ${message}`, [restart(), ...(isManaged ? [setUpAgain()] : [])], 'server');
  return message;
}
