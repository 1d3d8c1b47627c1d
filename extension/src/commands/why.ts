/** Why No Suggestion?: what is known here, where the front is not asked, and else what the front says of its last answer. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { SECTION, SETTING_KEYS, type Settings } from '../settings';
import type { Parts } from './commands';

interface Answer {
  readonly text: string;
  /** The id of the setting that it says to change. */
  readonly setting?: string;
}

export async function why(parts: Parts): Promise<void> {
  const { channels, store } = parts;
  if (store.snapshot.phase === 'setUp') {
    const chosen = await vscode.window.showInformationMessage(t('Green Code needs its Python packages and a model.'), t('Set Up'));
    if (chosen !== undefined) {
      await vscode.commands.executeCommand(COMMANDS.setUp);
    }
    return;
  }
  const { text, setting } = ofEditor(store.snapshot.settings) ?? (await ofFront(parts));
  const [openSetting, showLog] = [t('Open Setting'), t('Show Log')];
  const chosen = await vscode.window.showInformationMessage(text, ...(setting === undefined ? [] : [openSetting]), showLog);
  if (chosen === openSetting) {
    await vscode.commands.executeCommand('workbench.action.openSettings', `@id:${setting}`);
  } else if (chosen === showLog) {
    channels.show();
  }
}

/** The causes that keep the editor from asking at all. */
function ofEditor({ languages }: Settings): Answer | null {
  const language = vscode.window.activeTextEditor?.document.languageId;
  const editor = vscode.workspace.getConfiguration('editor', language === undefined ? null : { languageId: language });
  if (editor.get('inlineSuggest.enabled') === false) {
    return { text: t('The editor shows no inline suggestions: editor.inlineSuggest.enabled is off.'), setting: 'editor.inlineSuggest.enabled' };
  }
  if (language !== undefined && !languages.includes(language)) {
    const values = { language, languages: languages.join(', ') };
    return { text: t('The language {language} is not among greenCode.languages ({languages}).', values), setting: `${SECTION}.languages` };
  }
  return null;
}

/** The explanation is the daemon's sentence, in English. */
async function ofFront({ supervisor, channels }: Parts): Promise<Answer> {
  const { reason, message, action } = await supervisor.explain();
  channels.extension.info(`Why no suggestion: ${reason}: ${message}${action === null ? '' : ` ${action}`}`);
  const name = new RegExp(`\\b${SECTION}\\.(\\w+)`).exec(action ?? '')?.[1];
  const key = SETTING_KEYS.find((each) => each === name);
  return { text: [message, action].filter(Boolean).join(' '), ...(key === undefined ? {} : { setting: `${SECTION}.${key}` }) };
}
