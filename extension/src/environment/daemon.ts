/**
 * Which daemons ran for this extension, noted for the script that VS Code runs after an uninstall: without an editor around
 * it, that script can ask for neither settings nor the storage folder. The note lies in the extension's own folder, is gone
 * with it, and so speaks of no other installation's engine.
 *
 * Must not know: the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { bundlesFolder } from './bundles';
import { run as realRun, type Run } from './processes';
import { daemonVariables } from './variables';

export interface Daemon {
  readonly python: string;
  readonly origin: 'setting' | 'managed';
  /** Where it is run: never in a workspace, since Python imports from its working folder. */
  readonly cwd: string;
}

const noteIn = (extensionPath: string) => path.join(extensionPath, 'dist', 'daemons.json');

async function noted(extensionPath: string): Promise<readonly Daemon[]> {
  try {
    return JSON.parse(await fs.readFile(noteIn(extensionPath), 'utf8')) as readonly Daemon[];
  } catch {
    return []; // none ran yet, or two windows wrote at once: an engine that nobody finds ends by idleness
  }
}

export async function noteDaemon(extensionPath: string, { python, origin, cwd }: Daemon): Promise<void> {
  const others = (await noted(extensionPath)).filter((one) => one.python !== python);
  await fs.writeFile(noteIn(extensionPath), JSON.stringify([...others, { python, origin, cwd }]));
}

/** Ends the engines that served this extension, those that still run; resolves when they have hung up. */
export async function endEngines(extensionPath: string, run: Run = realRun): Promise<void> {
  const bundles = bundlesFolder(extensionPath);
  const stop = ({ python, origin, cwd }: Daemon) => run(python, ['-m', 'green_code', 'engine', '--stop'], { cwd, env: daemonVariables(origin, bundles) });
  await Promise.all((await noted(extensionPath)).map(stop));
}
