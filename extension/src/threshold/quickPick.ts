/** Set Threshold (Quick Pick): named stops, full depth, or a number; all from the keyboard. */
import * as vscode from 'vscode';

import { type Settings, writeSetting } from '../settings';
import { STOP_NAMES, type Stop, type StopName } from './stops';
import { parseThreshold, unused } from './value';

const DETAILS: Readonly<Record<StopName, string>> = {
  quality: 'Almost always the tokens of the full model',
  balanced: 'Good completions, good savings',
  saver: 'The most energy saved',
};

export type Choice = vscode.QuickPickItem & { readonly value: number | null };

/** Highest first; the value in force carries the mark, even where it is nobody's stop. */
export function choices(stops: readonly Stop[], current: number): readonly Choice[] {
  const rows = STOP_NAMES.flatMap((name) => {
    const stop = stops.find((each) => each.name === name);
    return stop ? [row(capitalised(name), stop.threshold, current, DETAILS[name])] : [];
  });
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

const capitalised = (word: string) => word.charAt(0).toUpperCase() + word.slice(1);

export async function pickThreshold(stops: readonly Stop[], { threshold: current, decoding }: Settings): Promise<void> {
  const chosen = await vscode.window.showQuickPick(choices(stops, current), {
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
