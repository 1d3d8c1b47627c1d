/** The folder of the trained bundles: the extension's own, or another one to try out. */
import path from 'node:path';

export const VARIABLE = 'GREEN_CODE_BUNDLES';

export function bundlesFolder(extensionPath: string, environment: NodeJS.ProcessEnv = process.env): string {
  const chosen = environment[VARIABLE];
  return chosen === undefined || chosen === '' ? path.join(extensionPath, 'agent_models') : chosen;
}
