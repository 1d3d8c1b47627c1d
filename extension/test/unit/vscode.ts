/** A stand-in for the editor's API in unit tests: the part that the tested modules use, with a configuration that tests can set. */

const nothing = () => undefined;

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

type Listener = (event: unknown) => void;

/** The editor's events, which tests fire, and the commands that were registered. */
export const events = {
  listeners: new Map<string, Listener>(),
  commands: new Array<string>(),
  on:
    (name: string) =>
    (listener: Listener): { dispose(): void } => {
      events.listeners.set(name, listener);
      return { dispose: () => void events.listeners.delete(name) };
    },
  fire(name: string, event: unknown): void {
    this.listeners.get(name)?.(event);
  },
  clear(): void {
    this.listeners.clear();
    this.commands.length = 0;
  },
};

export class EventEmitter {
  readonly event = nothing;
  readonly fire = nothing;
  readonly dispose = nothing;
}

export const workspace = {
  textDocuments: [] as { uri: { scheme: string }; languageId: string }[],
  onDidOpenTextDocument: events.on('onDidOpenTextDocument'),
  onDidChangeConfiguration: events.on('onDidChangeConfiguration'),
  registerTextDocumentContentProvider: () => ({ dispose: nothing }),
  getConfiguration: (_: string, scope: { readonly languageId?: string } | null = null) => ({
    get: (key: string) => configuration.languages.get(scope?.languageId ?? '')?.get(key) ?? configuration.workspace.get(key) ?? configuration.user.get(key),
    inspect: (key: string) => ({ globalValue: configuration.user.get(key), workspaceValue: configuration.workspace.get(key) }),
    update: (key: string, value: unknown, target: ConfigurationTarget) => {
      configuration.updates.push({ key, value, target });
      return Promise.resolve();
    },
  }),
};

export const Uri = { joinPath: (...parts: readonly unknown[]) => parts.join('/') };

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
  registerWebviewViewProvider: () => ({ dispose: nothing }),
  withProgress: <T>(_: unknown, task: (progress: unknown, token: unknown) => Promise<T>): Promise<T> =>
    task({ report: () => undefined }, { onCancellationRequested: () => ({ dispose: () => undefined }) }),
};
export const commands = {
  executeCommand: unanswered,
  registerCommand: (id: string) => {
    events.commands.push(id);
    return { dispose: nothing };
  },
};

export const env = { language: 'en', clipboard: { writeText: unanswered } };
