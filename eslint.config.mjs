import js from '@eslint/js';
import tseslint from 'typescript-eslint';

const names = (list, value = 'readonly') => Object.fromEntries(list.map((name) => [name, value]));
const node = names(['process', 'console', 'performance', 'fetch', 'setTimeout', 'clearTimeout', 'Buffer', 'URL']);
const browser = names(['document', 'window', 'acquireVsCodeApi', 'MutationObserver', 'ResizeObserver', 'setTimeout', 'clearTimeout']);

export default tseslint.config(
  { ignores: ['dist/', 'build/', 'extension/test/e2e/artifacts/'] },
  js.configs.recommended,
  { rules: { 'max-lines': ['error', 400] } },
  {
    files: ['extension/**/*.ts'],
    extends: [...tseslint.configs.strictTypeChecked, ...tseslint.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { project: './tsconfig.json', tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
    },
  },
  {
    files: ['extension/test/**/*.ts'],
    rules: { '@typescript-eslint/no-non-null-assertion': 'off' },
  },
  { files: ['**/*.mjs'], languageOptions: { globals: { ...node, ...browser } } },
  { files: ['extension/media/*.js'], languageOptions: { sourceType: 'script', globals: browser } },
);
