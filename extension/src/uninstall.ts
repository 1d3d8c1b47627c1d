/**
 * VS Code runs this script with plain Node (`vscode:uninstall` in package.json) at its first start after the extension was
 * uninstalled from every profile. No window uses the extension then, but an idle engine may still run, and on Windows it
 * locks the files of the managed environment. VS Code allows five seconds, then removes the extension's storage with that
 * environment. The energy ledger is in the user's data folder and stays.
 */
import path from 'node:path';

import { endEngines } from './environment/uninstallRecord';

void endEngines(path.dirname(__dirname)); // this file is dist/uninstall.js
