/** Why No Suggestion?: causes in the editor first, where the front gets no request; else the front's explanation. */
import * as vscode from 'vscode';

import { acceptsSetUp } from '../environment/setup';
import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { openSetting, SCHEMES, SECTION, SETTING_KEYS, settingId, type OpenableSetting, type Settings } from '../settings';
import type { Parts } from './commands';

interface Answer {
  readonly text: string;
  /** The setting to change. */
  readonly setting?: OpenableSetting;
}

export async function whyNoSuggestion(parts: Parts): Promise<void> {
  const { channels, store } = parts;
  if (store.snapshot.phase === 'setUp') {
    if (await acceptsSetUp()) {
      await vscode.commands.executeCommand(COMMANDS.setUp);
    }
    return;
  }
  const { text, setting } = causeInEditor(store.snapshot.settings) ?? (await explanation(parts));
  const open = setting === undefined ? null : openSetting(setting);
  const showLog = t('common.showLog');
  const chosen = await vscode.window.showInformationMessage(text, ...(open === null ? [] : [open.title]), showLog);
  if (open !== null && chosen === open.title) {
    await vscode.commands.executeCommand(open.command, ...open.args);
  } else if (chosen === showLog) {
    channels.show();
  }
}

/** A cause for which the editor sends no request. */
function causeInEditor({ enabled, languages }: Settings): Answer | null {
  if (!enabled) {
    return { text: t('why.switchedOff'), setting: 'enabled' };
  }
  const document = activeDocument();
  const language = document?.languageId;
  const editor = vscode.workspace.getConfiguration('editor', language === undefined ? null : { languageId: language });
  if (editor.get('inlineSuggest.enabled') === false) {
    return { text: t('why.editorSwitchedOff'), setting: 'editor.inlineSuggest.enabled' };
  }
  if (document !== undefined && !SCHEMES.includes(document.uri.scheme)) {
    return { text: t('why.unsupportedDocument', { scheme: document.uri.scheme }) };
  }
  if (language !== undefined && !languages.includes(language)) {
    const values = { language, languages: languages.join(', ') };
    return { text: t('why.otherLanguage', values), setting: 'languages' };
  }
  return null;
}

/** The output panel counts as a text editor, but it is not the document that the user means. */
function activeDocument(): vscode.TextDocument | undefined {
  const document = vscode.window.activeTextEditor?.document;
  return document?.uri.scheme === 'output' ? undefined : document;
}

/** The daemon's sentence, in English. */
async function explanation({ requests, channels }: Parts): Promise<Answer> {
  const { reason, message, action } = await requests.explain();
  channels.extension.info(`Why no suggestion: ${reason}: ${message}${action === null ? '' : ` ${action}`}`);
  const setting = settingIn(action ?? '') ?? settingIn(message);
  return { text: [message, action].filter(Boolean).join(' '), ...(setting === undefined ? {} : { setting }) };
}

/** The first of our settings that a sentence names. */
function settingIn(sentence: string): OpenableSetting | undefined {
  const ids = sentence.match(new RegExp(`\\b${SECTION}\\.\\w+`, 'g')) ?? [];
  return ids.map((id) => SETTING_KEYS.find((key) => settingId(key) === id)).find((key) => key !== undefined);
}
