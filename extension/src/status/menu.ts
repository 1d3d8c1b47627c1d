/** The quick menu behind the status item: what people reach for, in the order of use. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import type { Action } from '../log';
import { allSettings, keyboardShortcuts } from '../settings';
import type { Snapshot } from '../state/store';
import { modeTitle } from '../threshold/modes';
import { stopTitle } from '../threshold/stops';
import { switchLanguageTitle, switchModeTitle, type ActiveLanguage } from './switches';

/** A line between groups has no command. */
type Entry = vscode.QuickPickItem & Partial<Pick<Action, 'command' | 'args'>>;

const LINE: Entry = { label: '', kind: vscode.QuickPickItemKind.Separator };

export function entries(snapshot: Snapshot, language: ActiveLanguage | null): readonly Entry[] {
  const { settings } = snapshot;
  return [
    ...onAndOff(snapshot, language),
    LINE,
    { label: `$(settings) ${t('threshold.suggestions')}`, description: stopTitle(settings.suggestions), command: COMMANDS.setThreshold },
    { label: `$(arrow-swap) ${switchModeTitle(settings.decoding)}`, description: t('menu.modeNow', { mode: modeTitle(settings.decoding) }), command: COMMANDS.switchMode },
    { label: `$(chip) ${t('menu.model')}`, description: settings.model, command: COMMANDS.chooseModel },
    LINE,
    { label: `$(question) ${t('menu.why')}`, command: COMMANDS.whyNoSuggestion },
    { label: `$(graph) ${t('common.energyReport')}`, command: COMMANDS.energyReport },
    { label: `$(layers) ${t('menu.showLayers')}`, description: t('menu.ofLastCompletion'), command: COMMANDS.showLayers },
    LINE,
    action('gear', allSettings()),
    action('keyboard', keyboardShortcuts()),
    { label: `$(refresh) ${t('menu.restartEngine')}`, command: COMMANDS.restartEngine },
    { label: `$(pulse) ${t('menu.diagnose')}`, command: COMMANDS.diagnose },
  ];
}

/** What is off comes back with the first entry. */
function onAndOff({ settings, snooze }: Snapshot, language: ActiveLanguage | null): readonly Entry[] {
  const turnOn = { label: `$(play) ${t('menu.turnOn')}`, command: COMMANDS.toggle };
  const turnOff = { label: `$(circle-slash) ${t('menu.turnOff')}`, command: COMMANDS.toggle };
  const switchLanguage = language === null ? [] : [{ label: `$(code) ${switchLanguageTitle(language)}`, command: COMMANDS.toggleLanguage }];
  if (!settings.enabled) {
    return [turnOn, ...switchLanguage];
  }
  return snooze === null
    ? [...switchLanguage, { label: `$(bell-slash) ${t('menu.snooze')}`, command: COMMANDS.snooze }, turnOff]
    : [{ label: `$(bell) ${t('snooze.resume')}`, command: COMMANDS.resume }, ...switchLanguage];
}

function action(icon: string, { title, command, args }: Required<Action>, description = ''): Entry {
  return { label: `$(${icon}) ${title}`, description, command, args };
}

export async function showMenu(snapshot: Snapshot, language: ActiveLanguage | null): Promise<void> {
  const chosen = await vscode.window.showQuickPick(entries(snapshot, language), { title: 'Green Code' });
  if (chosen?.command !== undefined) {
    await vscode.commands.executeCommand(chosen.command, ...(chosen.args ?? []));
  }
}
