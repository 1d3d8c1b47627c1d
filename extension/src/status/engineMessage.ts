/** The message of the engine's status, in the editor's language as far as the reason says it. Must not use the editor's API. */
import { language, textOf } from '../l10n';
import type { StatusMessage } from '../protocol';

/**
 * Empty where the state says it all. A failure's message is English: in another language, the sentence of its reason comes first.
 */
export function engineMessage({ state, message, reason }: StatusMessage): string {
  if (state === 'starting' || state === 'loading') {
    return '';
  }
  const sentence = reason === null ? undefined : textOf(`why.${reason}`, {});
  if (sentence === undefined || language() === 'en') {
    return message;
  }
  return state === 'paused' ? sentence : `${sentence} ${message}`.trim();
}
