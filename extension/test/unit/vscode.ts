/** Stands in for the editor in unit tests: only what the tested modules touch, and a configuration that can be set. */

export const configuration = {
  user: new Map<string, unknown>(),
  workspace: new Map<string, unknown>(),
  languages: new Map<string, ReadonlyMap<string, unknown>>(),
  updates: [] as { key: string; value: unknown; target: ConfigurationTarget }[],
  reset(): void {
    this.user.clear();
    this.workspace.clear();
    this.languages.clear();
    this.updates.length = 0;
  },
};

export enum ConfigurationTarget {
  Global = 1,
  Workspace = 2,
}

export const workspace = {
  textDocuments: [] as { uri: { scheme: string }; languageId: string }[],
  getConfiguration: (_: string, scope: { readonly languageId?: string } | null = null) => ({
    get: (key: string) => configuration.languages.get(scope?.languageId ?? '')?.get(key) ?? configuration.workspace.get(key) ?? configuration.user.get(key),
    inspect: (key: string) => ({ globalValue: configuration.user.get(key), workspaceValue: configuration.workspace.get(key) }),
    update: (key: string, value: unknown, target: ConfigurationTarget) => {
      configuration.updates.push({ key, value, target });
      return Promise.resolve();
    },
  }),
};

export enum ProgressLocation {
  Notification = 15,
}

export enum StatusBarAlignment {
  Right = 2,
}

export class MarkdownString {
  isTrusted: unknown;
  constructor(readonly value: string) {}
}

export class ThemeColor {
  constructor(readonly id: string) {}
}

const unanswered: (...args: readonly unknown[]) => Promise<string | undefined> = () => Promise.resolve(undefined);
const nothing = () => undefined;
const outputChannel: (name: string) => Record<'info' | 'warn' | 'error' | 'show' | 'dispose', () => void> = () => ({
  info: nothing,
  warn: nothing,
  error: nothing,
  show: nothing,
  dispose: nothing,
});

export const window = {
  activeTextEditor: undefined as { document: { uri: { scheme: string }; languageId: string } } | undefined,
  showInformationMessage: unanswered,
  showErrorMessage: unanswered,
  showWarningMessage: unanswered,
  createOutputChannel: outputChannel,
  createStatusBarItem: () => ({ text: '', show: nothing, hide: nothing, dispose: nothing }),
  onDidChangeActiveTextEditor: () => ({ dispose: nothing }),
  withProgress: <T>(_: unknown, task: (progress: unknown, token: unknown) => Promise<T>): Promise<T> =>
    task({ report: () => undefined }, { onCancellationRequested: () => ({ dispose: () => undefined }) }),
};
export const commands = { executeCommand: unanswered };

export const env = { language: 'en', clipboard: { writeText: unanswered } };

/** The editor loads the bundle of its language, if there is one, before the extension. */
export const l10n = {
  bundle: undefined as Readonly<Record<string, string>> | undefined,
  t: (message: string, values: Readonly<Record<string, string>>): string =>
    (l10n.bundle?.[message] ?? message).replace(/\{(\w+)\}/g, (placeholder, name: string) => values[name] ?? placeholder),
};
