/** Languages on and off: for the user, or for this workspace alone. */
import * as vscode from 'vscode';

import { t } from '../l10n';
import { SCHEMES, SECTION, validOrDefault, type Settings } from '../settings';
import { switchLanguageTitle, type ActiveLanguage } from './switches';

/** Null without a text editor, and in one that is no document, such as the output panel. */
export function activeLanguage({ languages }: Settings): ActiveLanguage | null {
  const document = vscode.window.activeTextEditor?.document;
  if (document === undefined || !SCHEMES.includes(document.uri.scheme)) {
    return null;
  }
  return described(document.languageId, languages);
}

const described = (id: string, languages: readonly string[]): ActiveLanguage => ({ id, name: languageName(id), isOn: languages.includes(id) });

interface Contribution {
  readonly contributes?: { readonly languages?: readonly { readonly id?: string; readonly aliases?: readonly string[] }[] };
}

/** The editor's API has ids alone. A language's first alias is the name that the editor shows. */
export function languageName(id: string): string {
  for (const { packageJSON } of vscode.extensions.all) {
    const languages = (packageJSON as Contribution).contributes?.languages ?? [];
    const name = languages.find((language) => language.id === id && language.aliases?.length)?.aliases?.[0];
    if (name !== undefined) {
      return name;
    }
  }
  return id;
}

/**
 * Switches a language, without an id the active editor's. A message stays while the user goes to another file, so it names the language.
 * Asks where, if a workspace is open that may have settings of its own.
 */
export async function toggleLanguage(settings: Settings, id?: string): Promise<void> {
  const language = id === undefined ? activeLanguage(settings) : described(id, settings.languages);
  if (language === null) {
    void vscode.window.showInformationMessage(t('languages.openFile'));
    return;
  }
  const everywhere = { label: t('languages.everywhere'), target: vscode.ConfigurationTarget.Global };
  const here = { label: t('languages.here'), target: vscode.ConfigurationTarget.Workspace };
  const canChoose = vscode.workspace.workspaceFolders !== undefined && vscode.workspace.isTrusted;
  const chosen = canChoose ? await vscode.window.showQuickPick([everywhere, here], { title: switchLanguageTitle(language) }) : everywhere;
  if (chosen !== undefined) {
    await write(language, chosen.target);
  }
}

/** The workspace's own list hides the user's. So a switch for the user changes both where both exist. */
async function write({ id, isOn }: ActiveLanguage, target: vscode.ConfigurationTarget): Promise<void> {
  const section = vscode.workspace.getConfiguration(SECTION);
  const found = section.inspect('languages');
  const switched = (value: unknown) => {
    const languages = validOrDefault('languages', value);
    return isOn ? languages.filter((each) => each !== id) : [...new Set([...languages, id])];
  };
  if (target === vscode.ConfigurationTarget.Global) {
    await section.update('languages', switched(found?.globalValue), target);
  }
  if (target === vscode.ConfigurationTarget.Workspace || found?.workspaceValue !== undefined) {
    await section.update('languages', switched(section.get('languages')), vscode.ConfigurationTarget.Workspace);
  }
}
