/** Set Threshold (Quick Pick): named stops, full depth, or a number; all from the keyboard. */
import * as vscode from 'vscode';

import { t } from '../l10n';
import { type Settings, writeSetting } from '../settings';
import { percent, threshold as thresholdText } from '../state/format';
import { stopTitle, type Calibration, type Stop } from './calibration';
import { parseThreshold, unused } from './value';

export type Choice = vscode.QuickPickItem & { readonly value: number | null };

/** Highest first; the value in force carries the mark, even where it is nobody's stop. */
export function choices({ stops }: Calibration, current: number): readonly Choice[] {
  const rows = stops.map((stop) => row(stopTitle(stop.name), stop.threshold, current, detail(stop)));
  const all = [row(t('Full depth'), 1, current, t('Every layer runs; guesses from text alone save')), ...rows];
  if (!all.some(({ value }) => value === current)) {
    all.push(row(t('Current'), current, current, t('The value in force')));
  }
  return [...all, { label: `$(edit) ${t('Enter a number…')}`, value: null }];
}

function row(name: string, value: number, current: number, detail: string): Choice {
  const mark = value === current ? '$(check) ' : '';
  return { label: `${mark}${name}`, description: thresholdText(value), detail, value };
}

const detail = ({ allowedLoss, confidence, saving }: Stop) =>
  t('At most {loss} of quality lost ({confidence} confidence), {saving} of energy saved, in cold completions of held-out code', {
    loss: percent(allowedLoss),
    confidence: percent(confidence),
    saving: percent(saving),
  });

export async function pickThreshold(calibration: Calibration, { threshold: current, decoding }: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(choices(calibration, current), {
    title: t('Green Code: Threshold'),
    placeHolder: unused(decoding) || t('Higher keeps quality, lower saves energy'),
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
