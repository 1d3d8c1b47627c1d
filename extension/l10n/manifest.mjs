/** Writes the manifest's texts from the table to package.nls.json and package.nls.de.json, where the editor looks for them. */
import fs from 'node:fs';

const PREFIX = 'manifest.';
const texts = JSON.parse(fs.readFileSync('extension/l10n/texts.json', 'utf8'));
for (const [language, file] of [['en', 'package.nls.json'], ['de', 'package.nls.de.json']]) {
  const own = Object.entries(texts).filter(([id]) => id.startsWith(PREFIX));
  const rows = own.map(([id, text]) => [id.slice(PREFIX.length), text[language]]);
  fs.writeFileSync(file, `${JSON.stringify(Object.fromEntries(rows), null, 2)}\n`);
}
