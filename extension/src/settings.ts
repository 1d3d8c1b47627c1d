/**
 * Typed access to `greenCode.*`.
 *
 * Defaults live in package.json alone (checked against the daemon's settings.py by a test), so nothing here repeats one.
 */
import * as vscode from 'vscode';

import { contributes } from '../../package.json';
import { t } from './l10n';
import type { Action } from './log';
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
  readonly completeInComments: boolean;
  readonly completeInStrings: boolean;
  readonly maxLines: number;
  readonly maxPromptTokens: number;
  readonly pauseOnBattery: boolean;
  readonly statusBar: boolean;
  readonly gridIntensity: number;
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
  'completeInComments',
  'completeInStrings',
  'maxLines',
  'maxPromptTokens',
  'pauseOnBattery',
  'statusBar',
  'gridIntensity',
  'pythonPath',
] as const satisfies readonly (keyof Settings)[];

/** A row of the manifest's configuration. */
interface Row {
  readonly type: string;
  readonly default: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly scope?: string;
}

const ROWS = contributes.configuration.properties as Readonly<Record<`greenCode.${keyof Settings}`, Row>>;

/** What the user wrote, without its prefix, right or wrong: the front names what is wrong with it. */
export function rawSettings(): Readonly<Record<string, unknown>> {
  const section = vscode.workspace.getConfiguration(SECTION);
  return Object.fromEntries(SETTING_KEYS.map((key) => [key, section.get(key)]));
}

/** What the front is sent: the above, and under `[language]` what a chosen language has otherwise, as in settings.json. */
export function settingsForFront(): Readonly<Record<string, unknown>> {
  const common = rawSettings();
  const keys = SETTING_KEYS.filter((key) => ROWS[`${SECTION}.${key}`].scope === 'language-overridable');
  const own = readSettings().languages.map((languageId) => {
    const section = vscode.workspace.getConfiguration(SECTION, { languageId });
    const others = keys.map((key) => [key, section.get<unknown>(key)] as const).filter(([key, value]) => value !== common[key]);
    return [`[${languageId}]`, Object.fromEntries(others)] as const;
  });
  return { ...common, ...Object.fromEntries(own.filter(([, values]) => Object.keys(values).length > 0)) };
}

/** What the code reads: the editor passes on any JSON, so a value that the manifest does not allow gives way to the default. */
export function readSettings(): Settings {
  const raw = rawSettings();
  return Object.fromEntries(
    SETTING_KEYS.map((key) => [key, allows(ROWS[`${SECTION}.${key}`], raw[key]) ? raw[key] : ROWS[`${SECTION}.${key}`].default]),
  ) as unknown as Settings;
}

function allows(row: Row, value: unknown): boolean {
  const { minimum = -Infinity, maximum = Infinity } = row;
  return hasType(row.type, value) && (row.enum?.includes(value) ?? true) && !(typeof value === 'number' && (value < minimum || value > maximum));
}

function hasType(type: string, value: unknown): boolean {
  switch (type) {
    case 'integer':
      return Number.isInteger(value);
    case 'number':
      return Number.isFinite(value);
    case 'array':
      return Array.isArray(value) && value.every((item) => typeof item === 'string');
    default:
      return typeof value === type;
  }
}

/** Where documents come from that we complete in; each cell of a notebook is a document of its own. */
export const SCHEMES: readonly string[] = ['file', 'untitled', 'vscode-notebook-cell'];

/** Whether we complete in documents like this one. */
export function serves({ languages }: Settings, { uri, languageId }: vscode.TextDocument): boolean {
  return SCHEMES.includes(uri.scheme) && languages.includes(languageId);
}

/** Whether a document is open that we complete in. */
export function isNeeded(settings: Settings): boolean {
  return vscode.workspace.textDocuments.some((document) => serves(settings, document));
}

/** A button that opens the Settings editor at one setting: ours, or one of the editor's. */
export function openSetting(id: string): Required<Action> {
  return { title: t('Open Setting'), command: 'workbench.action.openSettings', args: [`@id:${id}`] };
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
