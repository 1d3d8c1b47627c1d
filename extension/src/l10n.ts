/**
 * Every text that the user can see, in the editor's language. All that other modules may know of it is here, so that those
 * which must not know the editor's API stay free of it.
 *
 * The English sentence stands in the code and is the key; extension/l10n has the other languages, and package.nls*.json
 * what the manifest says. Two things stay English: what is only logged, so that whoever is asked for help can read it (what
 * the user was told stands in the log, too, in his language), and sentences of the daemon, which speaks to other editors and
 * to terminals, too.
 */
import * as vscode from 'vscode';

/**
 * A whole sentence with its placeholders filled; figures for it come from state/format.ts. Where a number changes the
 * wording, the caller chooses between two sentences: one for 1, and one for all others.
 */
export function t(message: string, values: Readonly<Record<string, string>> = {}): string {
  return vscode.l10n.t(message, values);
}

/** The language of these texts, and so of the figures in them: English where the editor speaks one that we do not. */
export function language(): string {
  return vscode.l10n.bundle === undefined ? 'en' : vscode.env.language;
}
