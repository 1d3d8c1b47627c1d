/** The threshold as a number: range, steps and parsing. Must not use the editor's API. */

import { t } from '../l10n';

export const LOWEST = 0.5;
export const HIGHEST = 1;
/** Step of the slider. */
export const STEP = 0.01;

type Parsed = { readonly value: number } | { readonly error: string };

/** Accepts `0.85`, `.85`, `0,85` and `85 %`. Anything else gives an error message. */
export function parseThreshold(text: string): Parsed {
  const match = /^(\d*[.,]?\d+)\s*(%?)$/.exec(text.trim());
  if (!match) {
    return { error: t('threshold.notANumber') };
  }
  const number = Number((match[1] ?? '').replace(',', '.')) / (match[2] === '%' ? 100 : 1);
  return number >= LOWEST && number <= HIGHEST
    ? { value: roundThreshold(number) }
    : { error: t('threshold.outOfRange', { text: text.trim() }) };
}

export const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);

/** Rounds to the slider's step, so that no setting becomes 0.8500000000000001. */
export function roundThreshold(value: number): number {
  return Math.round(Math.min(HIGHEST, Math.max(LOWEST, value)) * 100) / 100;
}
