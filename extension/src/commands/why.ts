/** Why No Suggestion?: causes in the editor first, where the front gets no request; else the front's explanation. */
import * as vscode from 'vscode';

import { acceptsSetUp } from '../environment/setup';
import { COMMANDS } from '../ids';
import { t, textOf } from '../l10n';
import type { Action } from '../log';
import type { Explanation } from '../protocol';
import { openSetting, SCHEMES, SECTION, SETTING_KEYS, settingId, type OpenableSetting } from '../settings';
import { ago, whole } from '../state/format';
import type { Snapshot } from '../state/store';
import { languageName } from '../status/languages';
import type { Parts } from './commands';

interface Answer {
  readonly text: string;
  /** What helps. */
  readonly offer?: Action;
}

export async function whyNoSuggestion(parts: Parts): Promise<void> {
  const { channels, store } = parts;
  if (store.snapshot.phase === 'setUp') {
    if (await acceptsSetUp()) {
      await vscode.commands.executeCommand(COMMANDS.setUp);
    }
    return;
  }
  const document = activeDocument();
  const { text, offer } = causeInEditor(store.snapshot, document) ?? (await explanation(parts, document));
  const showLog = t('common.showLog');
  const chosen = await vscode.window.showInformationMessage(text, ...(offer === undefined ? [] : [offer.title]), showLog);
  if (offer !== undefined && chosen === offer.title) {
    await vscode.commands.executeCommand(offer.command, ...(offer.args ?? []));
  } else if (chosen === showLog) {
    channels.show();
  }
}

/** A cause for which the editor sends no request. */
function causeInEditor({ settings, snooze }: Snapshot, document: vscode.TextDocument | undefined): Answer | null {
  const { enabled, excludedFiles, languages } = settings;
  if (!enabled) {
    return { text: t('why.disabled'), offer: openSetting('enabled') };
  }
  if (snooze) {
    return { text: t('whyHere.snoozed'), offer: { title: t('snooze.resume'), command: COMMANDS.resume } };
  }
  const language = document?.languageId;
  const editor = vscode.workspace.getConfiguration('editor', language === undefined ? null : { languageId: language });
  if (editor.get('inlineSuggest.enabled') === false) {
    return { text: t('whyHere.editorSwitchedOff'), offer: openSetting('editor.inlineSuggest.enabled') };
  }
  if (document === undefined || language === undefined) {
    return null;
  }
  if (!SCHEMES.includes(document.uri.scheme)) {
    return { text: t('whyHere.unsupportedDocument', { scheme: document.uri.scheme }) };
  }
  if (languages.includes(language)) {
    return null;
  }
  const glob = excludedFiles.find((pattern) => vscode.languages.match([{ pattern }, { pattern: `**/${pattern}` }], document) > 0);
  if (glob !== undefined) {
    return { text: t('why.excluded_file', { glob }), offer: openSetting('excludedFiles') };
  }
  const name = languageName(language);
  const text = t('why.other_language', { language: name });
  return { text, offer: { title: t('languages.enable', { name }), command: COMMANDS.toggleLanguage, args: [language] } };
}

/** The output panel counts as a text editor, but it is not the document that the user means. */
function activeDocument(): vscode.TextDocument | undefined {
  const document = vscode.window.activeTextEditor?.document;
  return document?.uri.scheme === 'output' ? undefined : document;
}

/** What the front says about the last request, if that was in this document. */
async function explanation({ requests, channels }: Parts, document: vscode.TextDocument | undefined): Promise<Answer> {
  const answer = await requests.explain();
  const { reason, message, uri, seconds_ago: seconds } = answer;
  channels.extension.info(`Why no suggestion: ${reason}: ${message} ${answer.action}`);
  const [sentence, action] = inWords(answer);
  const setting = settingIn(action) ?? settingIn(sentence);
  const found = { text: `${sentence} ${action}`.trim(), ...(setting === undefined ? {} : { offer: openSetting(setting) }) };
  if (uri === null || seconds === null || uri === document?.uri.toString()) {
    return found;
  }
  if (document !== undefined) {
    return { text: t('whyHere.notAskedYet') };
  }
  const file = vscode.workspace.asRelativePath(vscode.Uri.parse(uri));
  return { ...found, text: `${t('whyHere.noFile')} ${t('whyHere.lastRequest', { file, ago: ago(seconds), sentence: found.text })}` };
}

/** Sentence and action: in the editor's language where the table has the front's code, else as the front says it. */
function inWords({ code, values, message, action }: Explanation): readonly [string, string] {
  const shown = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, /^\d+$/.test(value) ? whole(Number(value)) : value]));
  const sentence = textOf(`why.${code}`, shown);
  return sentence === undefined ? [message, action] : [`${sentence} ${values.detail ?? ''}`.trim(), textOf(`why.${code}.action`, shown) ?? ''];
}

/** The first of our settings that a sentence names. */
function settingIn(sentence: string): OpenableSetting | undefined {
  const ids = sentence.match(new RegExp(`\\b${SECTION}\\.\\w+`, 'g')) ?? [];
  return ids.map((id) => SETTING_KEYS.find((key) => settingId(key) === id)).find((key) => key !== undefined);
}
