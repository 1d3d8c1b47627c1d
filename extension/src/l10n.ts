/**
 * Every text that the user can see, in the editor's language. Other modules reach the editor's translations through here
 * alone, so that modules that must not use the editor's API stay free of it.
 *
 * The English sentence in the code is the key. extension/l10n has the other languages, package.nls*.json the manifest's
 * texts. Log lines stay English, so that anyone can help with them. So do the daemon's sentences: other editors and
 * terminals show them too.
 */
import * as vscode from 'vscode';

/**
 * A sentence with its placeholders filled; state/format.ts formats the figures in it. Where a number changes the wording, the
 * caller chooses between two sentences: one for 1, and one for all other numbers.
 */
export function t(message: string, values: Readonly<Record<string, string>> = {}): string {
  return vscode.l10n.t(message, values);
}

/** The language of texts and figures: English where the editor's language has no translation. */
export function language(): string {
  return vscode.l10n.bundle === undefined ? 'en' : vscode.env.language;
}
