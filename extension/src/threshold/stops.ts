/** The stops: how sure the model must be of a suggestion, in three steps. Must not use the editor's API. */
import { t } from '../l10n';

/** Values of greenCode.suggestions, from most suggestions to fewest. */
export const STOPS = ['eager', 'balanced', 'sure'] as const;
export type Stop = (typeof STOPS)[number];

export const isStop = (value: unknown): value is Stop => STOPS.some((stop) => stop === value);

export function stopTitle(stop: Stop): string {
  switch (stop) {
    case 'eager':
      return t('threshold.eager');
    case 'balanced':
      return t('threshold.balanced');
    case 'sure':
      return t('threshold.sure');
  }
}

/** What a stop does, without figures: those are measured, or not shown. */
export function stopText(stop: Stop): string {
  switch (stop) {
    case 'eager':
      return t('threshold.eagerDetail');
    case 'balanced':
      return t('threshold.balancedDetail');
    case 'sure':
      return t('threshold.sureDetail');
  }
}
