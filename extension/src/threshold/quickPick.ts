/** Set Threshold (Quick Pick): the stops; then exit thresholds, which are presets, full depth or a number. All from the keyboard. */
import * as vscode from 'vscode';

import { t } from '../l10n';
import { type Settings, writeSetting } from '../settings';
import { percent, threshold as thresholdText } from '../state/format';
import { presetTitle, type Calibration, type Preset } from './calibration';
import { STOPS, stopText, stopTitle, type Stop } from './stops';
import { basis, comparison, outcomeText } from './suggestions';
import { noEffectReason, parseThreshold } from './value';

type StopChoice = vscode.QuickPickItem & { readonly stop: Stop | null };

/** The stops, with what was measured for each, then the entry that opens the exit thresholds. The current stop is marked. */
export function stopChoices({ suggestions }: Calibration, { suggestions: current, threshold }: Settings): readonly StopChoice[] {
  const stops = STOPS.map((stop) => {
    const label = `${stop === current ? '$(check) ' : ''}${stopTitle(stop)}`;
    const outcome = suggestions?.stops[stop];
    return suggestions === null || outcome === undefined
      ? { stop, label, detail: stopText(stop) }
      : { stop, label, description: comparison(outcome, suggestions.always), detail: outcomeText(outcome) };
  });
  return [...stops, { stop: null, label: `$(settings) ${t('Exit threshold…')}`, description: thresholdText(threshold) }];
}

type Choice = vscode.QuickPickItem & { readonly value: number | null };

/** Exit thresholds, highest first. The current value is marked, even if it is no preset. */
export function choices({ presets }: Calibration, current: number): readonly Choice[] {
  const rows = presets.map((preset) => row(presetTitle(preset.name), preset.threshold, current, detail(preset)));
  const all = [row(t('Full depth'), 1, current, t('Every layer runs. Only drafts from your text save energy.')), ...rows];
  if (!all.some(({ value }) => value === current)) {
    all.push(row(t('Current'), current, current, t('Your current setting')));
  }
  return [...all, { label: `$(edit) ${t('Enter a number…')}`, value: null }];
}

function row(name: string, value: number, current: number, detail: string): Choice {
  const mark = value === current ? '$(check) ' : '';
  return { label: `${mark}${name}`, description: thresholdText(value), detail, value };
}

const detail = ({ allowedLoss, confidence, saving }: Preset) =>
  t('At most {loss} quality loss ({confidence} confidence), {saving} energy saved; measured on held-out code with an empty cache', {
    loss: percent(allowedLoss),
    confidence: percent(confidence),
    saving: percent(saving),
  });

export async function pickThreshold(calibration: Calibration, settings: Settings): Promise<void> {
  const { suggestions } = calibration;
  const chosen = await vscode.window.showQuickPick(stopChoices(calibration, settings), {
    title: t('Green Code: Suggestions'),
    placeHolder: suggestions === null ? t('What the stops give was not measured for this model, so there are no figures.') : basis(suggestions),
  });
  if (chosen?.stop === null) {
    await pickExitThreshold(calibration, settings);
  } else if (chosen !== undefined) {
    await writeSetting('suggestions', chosen.stop);
  }
}

async function pickExitThreshold(calibration: Calibration, { threshold: current, decoding }: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(choices(calibration, current), {
    title: t('Green Code: Threshold'),
    placeHolder: noEffectReason(decoding) || t('Higher keeps quality, lower saves energy'),
    matchOnDescription: true,
  });
  const value = chosen?.value === null ? await askNumber(current) : chosen?.value;
  if (value !== undefined) {
    await writeSetting('threshold', value);
  }
}

async function askNumber(current: number): Promise<number | undefined> {
  const typed = await vscode.window.showInputBox({
    title: t('Green Code: Threshold'),
    prompt: t('A number between 0.5 and 1. Higher keeps quality, lower saves energy.'),
    value: thresholdText(current),
    validateInput: (value) => {
      const parsed = parseThreshold(value);
      return 'error' in parsed ? parsed.error : null;
    },
  });
  const parsed = typed === undefined ? undefined : parseThreshold(typed);
  return parsed && 'value' in parsed ? parsed.value : undefined;
}
