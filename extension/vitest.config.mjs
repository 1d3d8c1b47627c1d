import path from 'node:path';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: { alias: { vscode: path.join(import.meta.dirname, 'test', 'unit', 'vscode.ts') } },
  test: { include: ['extension/test/unit/**/*.test.ts'] },
});
