/** The quick menu behind the status item. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import type { Settings } from '../settings';
import { stopTitle } from '../threshold/stops';

type Entry = vscode.QuickPickItem & { readonly command: string };

export function entries({ enabled, suggestions }: Settings): readonly Entry[] {
  return [
    { label: `$(settings) ${t('Set Threshold')}`, description: stopTitle(suggestions), command: COMMANDS.setThreshold },
    enabled
      ? { label: `$(circle-slash) ${t('Turn Off')}`, command: COMMANDS.toggle }
      : { label: `$(play) ${t('Turn On')}`, command: COMMANDS.toggle },
    { label: `$(graph) ${t('Energy Report')}`, command: COMMANDS.energyReport },
    { label: `$(question) ${t('Why No Suggestion?')}`, command: COMMANDS.whyNoSuggestion },
    { label: `$(layers) ${t('Show Layers')}`, description: t('of the last completion'), command: COMMANDS.showLayers },
    { label: `$(refresh) ${t('Restart Engine')}`, command: COMMANDS.restartEngine },
    { label: `$(pulse) ${t('Diagnose')}`, command: COMMANDS.diagnose },
    { label: `$(output) ${t('Show Log')}`, command: COMMANDS.showLog },
  ];
}

export async function showMenu(settings: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(entries(settings), { title: 'Green Code' });
  if (chosen) {
    await vscode.commands.executeCommand(chosen.command);
  }
}
