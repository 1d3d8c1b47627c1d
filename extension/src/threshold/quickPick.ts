/**
 * Set Threshold (Quick Pick), all from the keyboard: the stops; the other mode; and in `fast` the exit thresholds, which are
 * presets, full depth or a number.
 */
import * as vscode from 'vscode';

import { t } from '../l10n';
import type { Decoding } from '../protocol';
import { type Settings, writeSetting } from '../settings';
import { percent, threshold as thresholdText } from '../state/format';
import { otherMode, switchModeTitle } from '../status/switches';
import { presetTitle, type Calibration, type Preset } from './calibration';
import { expectedInFast } from './messages';
import { modeText } from './modes';
import { STOPS, stopText, stopTitle, type Stop } from './stops';
import { basis, comparison, outcomeText } from './suggestions';
import { parseThreshold } from './value';

type StopChoice = vscode.QuickPickItem & { readonly stop?: Stop; readonly mode?: Decoding };

/** The stops with what was measured for each, the current one marked; the other mode; and in `fast` the exit thresholds. */
export function stopChoices({ curve, suggestions }: Calibration, settings: Settings): readonly StopChoice[] {
  const { suggestions: current, threshold, decoding } = settings;
  const stops = STOPS.map((stop) => {
    const label = `${stop === current ? '$(check) ' : ''}${stopTitle(stop)}`;
    const outcome = suggestions?.stops[stop];
    return suggestions === null || outcome === undefined
      ? { stop, label, detail: stopText(stop) }
      : { stop, label, description: comparison(outcome, suggestions.always), detail: outcomeText(outcome) };
  });
  const mode = otherMode(decoding);
  const detail = (mode === 'fast' ? expectedInFast(curve, threshold) : '') || modeText(mode);
  return [
    ...stops,
    { mode, label: `$(arrow-swap) ${switchModeTitle(decoding)}`, detail },
    ...(decoding === 'fast' ? [{ label: `$(settings) ${t('threshold.exitThresholdChoice')}`, description: thresholdText(threshold) }] : []),
  ];
}

type Choice = vscode.QuickPickItem & { readonly value: number | null };

/** Exit thresholds, highest first. The current value is marked, even if it is no preset. */
export function choices({ presets }: Calibration, current: number): readonly Choice[] {
  const rows = presets.map((preset) => row(presetTitle(preset.name), preset.threshold, current, detail(preset)));
  const all = [row(t('common.fullDepth'), 1, current, t('threshold.everyLayerRuns')), ...rows];
  if (!all.some(({ value }) => value === current)) {
    all.push(row(t('threshold.current'), current, current, t('threshold.currentSetting')));
  }
  return [...all, { label: `$(edit) ${t('threshold.enterNumber')}`, value: null }];
}

function row(name: string, value: number, current: number, detail: string): Choice {
  const mark = value === current ? '$(check) ' : '';
  return { label: `${mark}${name}`, description: thresholdText(value), detail, value };
}

const detail = ({ allowedLoss, confidence, saving }: Preset) =>
  t('threshold.presetDetail', {
    loss: percent(allowedLoss),
    confidence: percent(confidence),
    saving: percent(saving),
  });

export async function pickThreshold(calibration: Calibration, settings: Settings): Promise<void> {
  const { suggestions } = calibration;
  const chosen = await vscode.window.showQuickPick(stopChoices(calibration, settings), {
    title: t('threshold.suggestionsTitle'),
    placeHolder: suggestions === null ? t('threshold.notMeasured') : basis(suggestions),
  });
  if (chosen?.stop !== undefined) {
    await writeSetting('suggestions', chosen.stop);
  } else if (chosen?.mode !== undefined) {
    await writeSetting('decoding', chosen.mode);
  } else if (chosen !== undefined) {
    await pickExitThreshold(calibration, settings);
  }
}

async function pickExitThreshold(calibration: Calibration, { threshold: current }: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(choices(calibration, current), {
    title: t('threshold.title'),
    placeHolder: t('threshold.higherOrLower'),
    matchOnDescription: true,
  });
  const value = chosen?.value === null ? await askNumber(current) : chosen?.value;
  if (value !== undefined) {
    await writeSetting('threshold', value);
  }
}

async function askNumber(current: number): Promise<number | undefined> {
  const typed = await vscode.window.showInputBox({
    title: t('threshold.title'),
    prompt: t('threshold.numberPrompt'),
    value: thresholdText(current),
    validateInput: (value) => {
      const parsed = parseThreshold(value);
      return 'error' in parsed ? parsed.error : null;
    },
  });
  const parsed = typed === undefined ? undefined : parseThreshold(typed);
  return parsed && 'value' in parsed ? parsed.value : undefined;
}
