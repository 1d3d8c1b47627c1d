/** The quick menu behind the status item. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import type { Settings } from '../settings';

type Entry = vscode.QuickPickItem & { readonly command: string };

export function entries({ enabled, threshold }: Settings): readonly Entry[] {
  return [
    { label: '$(settings) Set Threshold', description: threshold.toFixed(2), command: COMMANDS.setThreshold },
    enabled
      ? { label: '$(circle-slash) Turn Off', command: COMMANDS.toggle }
      : { label: '$(play) Turn On', command: COMMANDS.toggle },
    { label: '$(graph) Energy Report', command: COMMANDS.energyReport },
    { label: '$(question) Why No Suggestion?', command: COMMANDS.whyNoSuggestion },
    { label: '$(layers) Show Layers', description: 'of the last completion', command: COMMANDS.showLayers },
    { label: '$(refresh) Restart Engine', command: COMMANDS.restartEngine },
    { label: '$(pulse) Diagnose', command: COMMANDS.diagnose },
    { label: '$(output) Show Log', command: COMMANDS.showLog },
  ];
}

export async function showMenu(settings: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(entries(settings), { title: 'Green Code' });
  if (chosen) {
    await vscode.commands.executeCommand(chosen.command);
  }
}
