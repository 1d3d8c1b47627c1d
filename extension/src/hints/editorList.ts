/**
 * The editor's own list of completions. Since the value `offWhenInlineCompletions` is the default of `editor.quickSuggestions`,
 * VS Code waits for inline suggestions, and hardly ever opens its list while somebody types.
 */
import * as vscode from 'vscode';

const SETTING = 'quickSuggestions';
const HIDDEN = 'offWhenInlineCompletions';

/** The setting: one value for all places, or one for each kind of place. */
type QuickSuggestions = boolean | string | { readonly other?: boolean | string } | null | undefined;

const inCode = (value: QuickSuggestions) => (typeof value === 'object' && value !== null ? value.other : value);

const section = (languageId: string) => vscode.workspace.getConfiguration('editor', { languageId });

/** Whether suggestions hide the list in this language, and nobody chose so. An editor that does not know the value never hides it. */
export function isListHidden(languageId: string): boolean {
  const editor = section(languageId);
  const found = editor.inspect<QuickSuggestions>(SETTING);
  const chosen = [
    found?.globalValue,
    found?.workspaceValue,
    found?.workspaceFolderValue,
    found?.globalLanguageValue,
    found?.workspaceLanguageValue,
    found?.workspaceFolderLanguageValue,
  ];
  return inCode(editor.get(SETTING)) === HIDDEN && chosen.every((value) => inCode(value) === undefined);
}

/** Writes the user's settings. What they say about comments and strings stays. */
export async function showList(languageId: string): Promise<void> {
  const editor = section(languageId);
  const own = editor.inspect<QuickSuggestions>(SETTING)?.globalValue;
  await editor.update(SETTING, { ...(typeof own === 'object' ? own : {}), other: 'on' }, vscode.ConfigurationTarget.Global);
}
