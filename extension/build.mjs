/** Bundles the extension (one file, so that activation reads one file), what runs after its uninstall, and the report's script. */
import { build } from 'esbuild';

const production = process.argv.includes('--production');
const options = { bundle: true, minify: production, sourcemap: production ? false : 'linked', legalComments: 'eof', logLevel: 'warning' };

await build({
  ...options,
  entryPoints: ['extension/src/extension.ts', 'extension/src/uninstall.ts'],
  outdir: 'dist',
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['vscode'],
});
await build({
  ...options,
  entryPoints: ['extension/webview/report.mjs'],
  outfile: 'dist/report.js',
  platform: 'browser',
  format: 'iife',
  target: 'chrome120',
});
