/** Where the trained bundles lie: those of the extension, unless the user points elsewhere (to try one out). */
import path from 'node:path';

export const VARIABLE = 'GREEN_CODE_BUNDLES';

export function bundlesFolder(extensionPath: string, environment: NodeJS.ProcessEnv = process.env): string {
  const chosen = environment[VARIABLE];
  return chosen === undefined || chosen === '' ? path.join(extensionPath, 'agent_models') : chosen;
}
