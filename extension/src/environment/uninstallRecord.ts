/**
 * Which daemons ran for this extension, recorded for the script that VS Code runs after an uninstall: without an editor, that
 * script can read neither settings nor the storage folder. The file is in the extension's own folder and is removed with
 * it, so it never names another installation's engine.
 *
 * Must not use the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { bundlesFolder } from './bundles';
import { run as realRun, type Run } from './processes';
import type { Ready } from './resolve';
import { daemonVariables } from './variables';

interface DaemonRecord {
  readonly python: string;
  readonly origin: Ready['origin'];
  /** Its working folder: never in a workspace, because Python imports from its working folder. */
  readonly cwd: string;
}

const recordFile = (extensionPath: string) => path.join(extensionPath, 'dist', 'daemons.json');

async function readRecords(extensionPath: string): Promise<readonly DaemonRecord[]> {
  try {
    return JSON.parse(await fs.readFile(recordFile(extensionPath), 'utf8')) as readonly DaemonRecord[];
  } catch {
    return []; // none ran yet, or two windows wrote at once; an engine that is not found ends when idle
  }
}

export async function recordDaemon(extensionPath: string, record: DaemonRecord): Promise<void> {
  const others = (await readRecords(extensionPath)).filter(({ python }) => python !== record.python);
  await fs.writeFile(recordFile(extensionPath), JSON.stringify([...others, record]));
}

/** Ends the engines that served this extension and still run; resolves when they have ended. */
export async function endEngines(extensionPath: string, run: Run = realRun): Promise<void> {
  const bundles = bundlesFolder(extensionPath);
  const stop = ({ python, origin, cwd }: DaemonRecord) => run(python, ['-m', 'green_code', 'engine', '--stop'], { cwd, env: daemonVariables(origin, bundles) });
  await Promise.all((await readRecords(extensionPath)).map(stop));
}
