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
