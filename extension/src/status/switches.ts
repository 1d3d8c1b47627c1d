/** What menu and tooltip offer to switch, in words. Must not use the editor's API. */
import { t } from '../l10n';
import type { Decoding } from '../protocol';
import { modeTitle } from '../threshold/modes';

/** The language of the editor that the user is in. */
export interface ActiveLanguage {
  readonly id: string;
  /** As the editor shows it. */
  readonly name: string;
  readonly isOn: boolean;
}

export const switchLanguageTitle = ({ name, isOn }: ActiveLanguage): string => (isOn ? t('languages.disable', { name }) : t('languages.enable', { name }));

/** The mode that one entry offers. `full` is for comparison, not for use. */
export const otherMode = (mode: Decoding): Decoding => (mode === 'exact' ? 'fast' : 'exact');

export const switchModeTitle = (mode: Decoding): string => t('menu.switchMode', { mode: modeTitle(otherMode(mode)) });
