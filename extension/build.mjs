/**
 * Bundles the extension (one file, so that activation reads one file), what runs after its uninstall, and the report's script.
 * What went into them is in dist/*.meta.json, for the bill of materials.
 */
import fs from 'node:fs';

import { build } from 'esbuild';

const production = process.argv.includes('--production');
const options = { bundle: true, minify: production, sourcemap: production ? false : 'linked', legalComments: 'eof', logLevel: 'warning', metafile: true };

const node = await build({
  ...options,
  entryPoints: ['extension/src/extension.ts', 'extension/src/uninstall.ts'],
  outdir: 'dist',
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['vscode'],
});
const browser = await build({
  ...options,
  entryPoints: ['extension/webview/report.mjs'],
  outfile: 'dist/report.js',
  platform: 'browser',
  format: 'iife',
  target: 'chrome120',
});
fs.writeFileSync('dist/node.meta.json', JSON.stringify(node.metafile));
fs.writeFileSync('dist/browser.meta.json', JSON.stringify(browser.metafile));
