/** Set Threshold (Quick Pick): named stops, full depth, or a number; all from the keyboard. */
import * as vscode from 'vscode';

import { type Settings, writeSetting } from '../settings';
import type { Calibration, Stop } from './calibration';
import { percent } from '../state/format';
import { parseThreshold, unused } from './value';

export type Choice = vscode.QuickPickItem & { readonly value: number | null };

/** Highest first; the value in force carries the mark, even where it is nobody's stop. */
export function choices({ stops }: Calibration, current: number): readonly Choice[] {
  const rows = stops.map((stop) => row(capitalised(stop.name), stop.threshold, current, detail(stop)));
  const all = [row('Full depth', 1, current, 'Every layer runs; nothing is saved'), ...rows];
  if (!all.some(({ value }) => value === current)) {
    all.push(row('Current', current, current, 'The value in force'));
  }
  return [...all, { label: '$(edit) Enter a number…', value: null }];
}

function row(name: string, value: number, current: number, detail: string): Choice {
  const mark = value === current ? '$(check) ' : '';
  return { label: `${mark}${name}`, description: value.toFixed(2), detail, value };
}

const detail = ({ allowedLoss, confidence, saving }: Stop) =>
  `At most ${percent(allowedLoss)} of quality lost (${percent(confidence)} confidence), ${percent(saving)} of energy saved, in cold completions of held-out code`;

const capitalised = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

export async function pickThreshold(calibration: Calibration, { threshold: current, decoding }: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(choices(calibration, current), {
    title: 'Green Code: Threshold',
    placeHolder: unused(decoding) || 'Higher keeps quality, lower saves energy',
    matchOnDescription: true,
  });
  const value = chosen?.value === null ? await askNumber(current) : chosen?.value;
  if (value !== undefined) {
    await writeSetting('threshold', value);
  }
}

async function askNumber(current: number): Promise<number | undefined> {
  const typed = await vscode.window.showInputBox({
    title: 'Green Code: Threshold',
    prompt: 'A number between 0.5 and 1. Higher keeps quality, lower saves energy.',
    value: current.toFixed(2),
    validateInput: (value) => {
      const parsed = parseThreshold(value);
      return 'error' in parsed ? parsed.error : null;
    },
  });
  const parsed = typed === undefined ? undefined : parseThreshold(typed);
  return parsed && 'value' in parsed ? parsed.value : undefined;
}
