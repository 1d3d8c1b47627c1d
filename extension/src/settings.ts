/**
 * Typed access to `greenCode.*`.
 *
 * Defaults live in package.json alone (checked against the daemon's settings.py by a test), so nothing here repeats one.
 */
import * as vscode from 'vscode';

import type { Decoding } from './protocol';

export const SECTION = 'greenCode';

export interface Settings {
  readonly enabled: boolean;
  readonly threshold: number;
  readonly decoding: Decoding;
  readonly model: string;
  readonly languages: readonly string[];
  readonly trigger: 'automatic' | 'manual';
  readonly excludedFiles: readonly string[];
  readonly maxLines: number;
  readonly maxPromptTokens: number;
  readonly pauseOnBattery: boolean;
  readonly statusBar: boolean;
  readonly pythonPath: string;
}

export const SETTING_KEYS = [
  'enabled',
  'threshold',
  'decoding',
  'model',
  'languages',
  'trigger',
  'excludedFiles',
  'maxLines',
  'maxPromptTokens',
  'pauseOnBattery',
  'statusBar',
  'pythonPath',
] as const satisfies readonly (keyof Settings)[];

/** Every setting without its prefix: what the code reads, and what the front is sent. */
export function readSettings(): Settings {
  const section = vscode.workspace.getConfiguration(SECTION);
  return Object.fromEntries(SETTING_KEYS.map((key) => [key, section.get(key)])) as unknown as Settings;
}

/** Writes where the value in force comes from: the workspace if it has one, else the user's settings. */
export async function writeSetting<K extends keyof Settings>(key: K, value: Settings[K]): Promise<void> {
  const section = vscode.workspace.getConfiguration(SECTION);
  const inWorkspace = section.inspect(key)?.workspaceValue !== undefined;
  const target = inWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  await section.update(key, value, target);
}

/** Calls back with the new settings on each change of one of ours. */
export function onSettingsChange(listener: (settings: Settings) => void): vscode.Disposable {
  return vscode.workspace.onDidChangeConfiguration((event) => {
    if (event.affectsConfiguration(SECTION)) {
      listener(readSettings());
    }
  });
}
