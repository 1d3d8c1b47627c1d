/**
 * What VS Code runs with plain Node (`vscode:uninstall` in package.json) at its first start after the extension was uninstalled
 * from every profile. No window uses the extension any more, but an engine may be idling, and on Windows holds the files
 * of the managed environment. VS Code gives this script five seconds, and then removes the extension's storage itself: the
 * managed environment. The energy ledger, the user's history, lies in the user's data folder and stays.
 */
import path from 'node:path';

import { endEngines } from './environment/daemon';

void endEngines(path.dirname(__dirname)); // this file is dist/uninstall.js
