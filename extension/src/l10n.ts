/**
 * Every text that the user can see, in the editor's language. Other modules reach the texts through here alone, so that modules
 * that must not use the editor's API stay free of it.
 *
 * extension/l10n/texts.json is the one table: an id, English, German. The manifest's texts are in it, too; `npm run texts` writes
 * them to package.nls.json and package.nls.de.json, where the editor looks for them. Log lines stay English, so that anyone can
 * help with them.
 */
import * as vscode from 'vscode';

import texts from '../l10n/texts.json';

export type TextId = keyof typeof texts;
type Language = 'en' | 'de';
type Values = Readonly<Record<string, string>>;

/**
 * A text with its placeholders filled; state/format.ts formats the figures in it. Where a number changes the wording, the
 * caller chooses between two texts: one for 1, and one for all other numbers.
 */
export function t(id: TextId, values: Values = {}): string {
  return fill(texts[id], values);
}

/** A text by an id that the front made up; undefined where the table does not have it. */
export function textOf(id: string, values: Values): string | undefined {
  return Object.hasOwn(texts, id) ? fill(texts[id as TextId], values) : undefined;
}

function fill(text: Readonly<Record<Language, string>>, values: Values): string {
  return text[language()].replace(/\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder);
}

/** The language of texts and figures: English where the editor's language has no translation. */
export function language(): Language {
  return vscode.env.language.toLowerCase().startsWith('de') ? 'de' : 'en';
}
