/** Why No Suggestion?: what is known here, where the front is not asked, and else what the front says of its last answer. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { openSetting, SCHEMES, SECTION, SETTING_KEYS, type Settings } from '../settings';
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
  const open = setting === undefined ? null : openSetting(setting);
  const showLog = t('Show Log');
  const chosen = await vscode.window.showInformationMessage(text, ...(open === null ? [] : [open.title]), showLog);
  if (open !== null && chosen === open.title) {
    await vscode.commands.executeCommand(open.command, ...open.args);
  } else if (chosen === showLog) {
    channels.show();
  }
}

/** The causes that keep the editor from asking at all. */
function ofEditor({ enabled, languages }: Settings): Answer | null {
  if (!enabled) {
    return { text: t('Suggestions are switched off (greenCode.enabled).'), setting: `${SECTION}.enabled` };
  }
  const document = activeDocument();
  const language = document?.languageId;
  const editor = vscode.workspace.getConfiguration('editor', language === undefined ? null : { languageId: language });
  if (editor.get('inlineSuggest.enabled') === false) {
    return { text: t('The editor shows no inline suggestions: editor.inlineSuggest.enabled is off.'), setting: 'editor.inlineSuggest.enabled' };
  }
  if (document !== undefined && !SCHEMES.includes(document.uri.scheme)) {
    return { text: t('Green Code does not complete in documents of this kind ({scheme}).', { scheme: document.uri.scheme }) };
  }
  if (language !== undefined && !languages.includes(language)) {
    const values = { language, languages: languages.join(', ') };
    return { text: t('The language {language} is not among greenCode.languages ({languages}).', values), setting: `${SECTION}.languages` };
  }
  return null;
}

/** To the editor, the output panel is a text editor like others; nobody waits for suggestions there. */
function activeDocument(): vscode.TextDocument | undefined {
  const document = vscode.window.activeTextEditor?.document;
  return document?.uri.scheme === 'output' ? undefined : document;
}

/** The explanation is the daemon's sentence, in English. */
async function ofFront({ supervisor, channels }: Parts): Promise<Answer> {
  const { reason, message, action } = await supervisor.explain();
  channels.extension.info(`Why no suggestion: ${reason}: ${message}${action === null ? '' : ` ${action}`}`);
  const setting = settingIn(action ?? '') ?? settingIn(message);
  return { text: [message, action].filter(Boolean).join(' '), ...(setting === undefined ? {} : { setting }) };
}

/** The first of our settings that a sentence names. */
function settingIn(sentence: string): string | undefined {
  const ids = SETTING_KEYS.map((key) => `${SECTION}.${key}`);
  return sentence.match(new RegExp(`\\b${SECTION}\\.\\w+`, 'g'))?.find((id) => ids.includes(id));
}
