/** The quick menu behind the status item. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import type { Settings } from '../settings';
import { stopTitle } from '../threshold/stops';

type Entry = vscode.QuickPickItem & { readonly command: string };

export function entries({ enabled, suggestions }: Settings): readonly Entry[] {
  return [
    { label: `$(settings) ${t('menu.setThreshold')}`, description: stopTitle(suggestions), command: COMMANDS.setThreshold },
    enabled
      ? { label: `$(circle-slash) ${t('menu.turnOff')}`, command: COMMANDS.toggle }
      : { label: `$(play) ${t('menu.turnOn')}`, command: COMMANDS.toggle },
    { label: `$(graph) ${t('common.energyReport')}`, command: COMMANDS.energyReport },
    { label: `$(question) ${t('menu.why')}`, command: COMMANDS.whyNoSuggestion },
    { label: `$(layers) ${t('menu.showLayers')}`, description: t('menu.ofLastCompletion'), command: COMMANDS.showLayers },
    { label: `$(refresh) ${t('menu.restartEngine')}`, command: COMMANDS.restartEngine },
    { label: `$(pulse) ${t('menu.diagnose')}`, command: COMMANDS.diagnose },
    { label: `$(output) ${t('common.showLog')}`, command: COMMANDS.showLog },
  ];
}

export async function showMenu(settings: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(entries(settings), { title: 'Green Code' });
  if (chosen) {
    await vscode.commands.executeCommand(chosen.command);
  }
}
