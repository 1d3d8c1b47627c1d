/**
 * Typed access to `greenCode.*`. `TABLE` names each setting; a unit test compares it with package.json, which alone has the
 * defaults, limits and scopes. Another test compares package.json with the daemon's settings.py.
 */
import * as vscode from 'vscode';

import { contributes, name, publisher } from '../../package.json';
import { originOf } from './endpoint/address';
import { t } from './l10n';
import type { Action } from './log';
import { DECODINGS } from './protocol';
import type { Snapshot } from './state/store';
import { STOPS } from './threshold/stops';

export const SECTION = 'greenCode';

interface Types {
  readonly boolean: boolean;
  readonly number: number;
  readonly integer: number;
  readonly string: string;
  readonly array: readonly string[];
}

/** Each setting with its type, or with its values where the manifest lists them. */
export const TABLE = {
  enabled: 'boolean',
  suggestions: STOPS,
  adaptiveGate: 'boolean',
  threshold: 'number',
  decoding: DECODINGS,
  model: 'string',
  endpoint: 'string',
  device: ['auto', 'cpu', 'cuda', 'mps'],
  gpuReserve: 'number',
  languages: 'array',
  trigger: ['automatic', 'manual'],
  excludedFiles: 'array',
  completeInComments: 'boolean',
  completeInStrings: 'boolean',
  maxLines: 'integer',
  maxPromptTokens: 'integer',
  pauseOnBattery: 'boolean',
  statusBar: 'boolean',
  gridIntensity: 'number',
  pythonPath: 'string',
} as const satisfies Readonly<Record<string, keyof Types | readonly string[]>>;

type SettingKey = keyof typeof TABLE;
type ValueOf<Kind> = Kind extends keyof Types ? Types[Kind] : Kind extends readonly (infer Value)[] ? Value : never;
export type Settings = { readonly [Key in SettingKey]: ValueOf<(typeof TABLE)[Key]> };

export const SETTING_KEYS = Object.keys(TABLE) as readonly SettingKey[];

export const settingId = (key: SettingKey): `greenCode.${SettingKey}` => `${SECTION}.${key}`;

/** The manifest's schema of one setting. */
interface Schema {
  readonly type: string;
  readonly default: unknown;
  readonly enum?: readonly unknown[];
  readonly minimum?: number;
  readonly maximum?: number;
  readonly maxLength?: number;
  readonly maxItems?: number;
  readonly scope?: string;
}

const SCHEMAS: Readonly<Record<`greenCode.${SettingKey}`, Schema>> = contributes.configuration.properties;

/** What the user wrote, by key without the prefix, valid or not: the front names what is wrong. */
export function rawSettings(): Readonly<Record<string, unknown>> {
  const section = vscode.workspace.getConfiguration(SECTION);
  return Object.fromEntries(SETTING_KEYS.map((key) => [key, section.get(key)]));
}

/**
 * What the front receives: the raw settings, and under `[language]` the values that differ there, as in settings.json.
 * Snoozed, suggestions are off to the front. `endpoint`: the server that the user has allowed; empty: none.
 */
export function settingsForFront({ snooze, endpoint }: Pick<Snapshot, 'snooze' | 'endpoint'>): Readonly<Record<string, unknown>> {
  const raw = rawSettings();
  const common: Readonly<Record<string, unknown>> = {
    ...raw,
    ...(snooze !== null ? { enabled: false } : {}),
    // What is no address is passed on, so that the front can say what is wrong with it.
    ...(typeof raw.endpoint !== 'string' || originOf(raw.endpoint) === null || raw.endpoint === endpoint ? {} : { endpoint: '' }),
    ...(endpoint === '' ? {} : withAllExclusions(raw.excludedFiles)),
  };
  const keys = SETTING_KEYS.filter((key) => SCHEMAS[settingId(key)].scope === 'language-overridable');
  const overrides = readSettings().languages.map((languageId) => {
    const section = vscode.workspace.getConfiguration(SECTION, { languageId });
    const different = keys.map((key) => [key, section.get<unknown>(key)] as const).filter(([key, value]) => value !== common[key]);
    return [`[${languageId}]`, Object.fromEntries(different)] as const;
  });
  return { ...common, ...Object.fromEntries(overrides.filter(([, values]) => Object.keys(values).length > 0)) };
}

/**
 * Where text leaves the machine, a workspace can exclude more files than the user does, but not fewer. Where both lists together cannot be
 * used, no code goes to the server: the local model answers.
 */
function withAllExclusions(raw: unknown): Readonly<Record<string, unknown>> {
  const found = vscode.workspace.getConfiguration(SECTION).inspect<unknown>('excludedFiles');
  const own = found?.globalValue ?? found?.defaultValue;
  const both = Array.isArray(raw) && Array.isArray(own) ? [...new Set([...(raw as readonly unknown[]), ...(own as readonly unknown[])])] : null;
  return isValid(SCHEMAS['greenCode.excludedFiles'], both) ? { excludedFiles: both } : { endpoint: '' };
}

/** What the extension uses. */
export function readSettings(): Settings {
  const raw = rawSettings();
  return Object.fromEntries(SETTING_KEYS.map((key) => [key, validOrDefault(key, raw[key])])) as unknown as Settings;
}

/** The editor passes on any JSON, so a value that the manifest does not allow becomes the default. */
export function validOrDefault<K extends SettingKey>(key: K, value: unknown): Settings[K] {
  const schema = SCHEMAS[settingId(key)];
  return (isValid(schema, value) ? value : schema.default) as Settings[K];
}

function isValid(schema: Schema, value: unknown): boolean {
  return hasType(schema.type, value) && (schema.enum?.includes(value) ?? true) && isWithin(schema, value);
}

function isWithin({ minimum = -Infinity, maximum = Infinity, maxLength = Infinity, maxItems = Infinity }: Schema, value: unknown): boolean {
  if (typeof value === 'number') {
    return value >= minimum && value <= maximum;
  }
  return typeof value === 'string' ? value.length <= maxLength : !Array.isArray(value) || value.length <= maxItems;
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

/** Schemes of supported documents. Each cell of a notebook is a document. */
export const SCHEMES: readonly string[] = ['file', 'untitled', 'vscode-notebook-cell'];

export function isSupported({ languages }: Settings, { uri, languageId }: vscode.TextDocument): boolean {
  return SCHEMES.includes(uri.scheme) && languages.includes(languageId);
}

/** Whether a supported document is open. */
export function isNeeded(settings: Settings): boolean {
  return vscode.workspace.textDocuments.some((document) => isSupported(settings, document));
}

/** One of our settings by key, or one of the editor's by id. */
export type OpenableSetting = SettingKey | `editor.${string}`;

/** A button that opens the Settings editor at one setting. */
export function openSetting(setting: OpenableSetting): Required<Action> {
  const id = setting.startsWith('editor.') ? setting : settingId(setting as SettingKey);
  return { title: t('common.openSetting'), command: 'workbench.action.openSettings', args: [`@id:${id}`] };
}

/** Opens all of our settings. */
export const allSettings = (): Required<Action> => ({
  title: t('menu.settings'),
  command: 'workbench.action.openSettings',
  args: [`@ext:${publisher}.${name}`],
});

/** Opens the keys of inline suggestions: they are the editor's own, except those that the manifest adds to its commands. */
export const keyboardShortcuts = (): Required<Action> => ({
  title: t('menu.keyboardShortcuts'),
  command: 'workbench.action.openGlobalKeybindings',
  args: ['inlineSuggest'],
});

/** Writes to the workspace where it has a value, else to the user's settings. */
export async function writeSetting<K extends SettingKey>(key: K, value: Settings[K]): Promise<void> {
  const section = vscode.workspace.getConfiguration(SECTION);
  const inWorkspace = section.inspect(key)?.workspaceValue !== undefined;
  const target = inWorkspace ? vscode.ConfigurationTarget.Workspace : vscode.ConfigurationTarget.Global;
  await section.update(key, value, target);
}

/** Calls the listener with the new settings when one of ours changes. */
export function onSettingsChange(listener: (settings: Settings) => void): vscode.Disposable {
  return vscode.workspace.onDidChangeConfiguration((event) => {
    if (event.affectsConfiguration(SECTION)) {
      listener(readSettings());
    }
  });
}
