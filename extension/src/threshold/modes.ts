/** The modes: how a suggestion is computed. Must not use the editor's API. */
import { t } from '../l10n';
import type { Decoding } from '../protocol';

export function modeTitle(mode: Decoding): string {
  switch (mode) {
    case 'exact':
      return t('mode.exact');
    case 'fast':
      return t('mode.fast');
    case 'full':
      return t('mode.full');
  }
}

/** What one entry offers instead. Every layer for every token is for comparison, not for use. */
export const otherMode = (mode: Decoding): Decoding => (mode === 'exact' ? 'fast' : 'exact');

/** What a mode does, without figures: those are measured, or not shown. */
export function modeText(mode: Decoding): string {
  switch (mode) {
    case 'exact':
      return t('mode.exactDetail');
    case 'fast':
      return t('mode.fastDetail');
    case 'full':
      return t('mode.fullDetail');
  }
}
