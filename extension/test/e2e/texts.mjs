/** The texts that the test expects, from the extension's own table: a change of wording changes no step. */
import fs from 'node:fs';
import path from 'node:path';

const table = JSON.parse(fs.readFileSync(path.resolve(import.meta.dirname, '../../l10n/texts.json'), 'utf8'));

function english(id) {
  if (!(id in table)) {
    throw new Error(`no text ${id}`);
  }
  return table[id].en;
}

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** An English text with its placeholders filled. */
export const text = (id, values = {}) => english(id).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);

/** Matches the text anywhere. A placeholder is a group of its name. */
export const pattern = (id) => new RegExp(escape(english(id)).replace(/\\\{(\w+)\\\}/g, '(?<$1>.+?)'));

/** The text up to its first placeholder. */
export const start = (id) => english(id).split('{')[0].trim();

/** The title of a command, as the command palette shows it. */
export const commandTitle = (name) => `Green Code: ${english(`manifest.command.${name}`)}`;
