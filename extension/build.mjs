/** Bundles the extension into dist/extension.js: one file, so that activation reads one file. */
import { build } from 'esbuild';

const production = process.argv.includes('--production');

await build({
  entryPoints: ['extension/src/extension.ts'],
  outfile: 'dist/extension.js',
  bundle: true,
  platform: 'node',
  format: 'cjs',
  target: 'node20',
  external: ['vscode'],
  minify: production,
  sourcemap: production ? false : 'linked',
  legalComments: 'eof',
  logLevel: 'warning',
});
