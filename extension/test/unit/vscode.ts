/** A stand-in for the editor's API in unit tests: the part that the tested modules use, with a configuration that tests can set. */

const nothing = () => undefined;

export const configuration = {
  defaults: new Map<string, unknown>(),
  user: new Map<string, unknown>(),
  workspace: new Map<string, unknown>(),
  languages: new Map<string, ReadonlyMap<string, unknown>>(),
  updates: [] as { key: string; value: unknown; target: ConfigurationTarget }[],
  reset(): void {
    this.defaults.clear();
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

export enum QuickPickItemKind {
  Separator = -1,
  Default = 0,
}

type Listener = (event: unknown) => void;

/** The editor's events, which tests fire, and the commands that were registered. */
export const events = {
  listeners: new Map<string, Set<Listener>>(),
  commands: new Array<string>(),
  on:
    (name: string) =>
    (listener: Listener): { dispose(): void } => {
      const all = events.listeners.get(name) ?? new Set();
      events.listeners.set(name, all.add(listener));
      return { dispose: () => void all.delete(listener) };
    },
  fire(name: string, event: unknown): void {
    this.listeners.get(name)?.forEach((listener) => listener(event));
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
  workspaceFolders: undefined as readonly unknown[] | undefined,
  isTrusted: true,
  onDidOpenTextDocument: events.on('onDidOpenTextDocument'),
  onDidChangeConfiguration: events.on('onDidChangeConfiguration'),
  registerTextDocumentContentProvider: () => ({ dispose: nothing }),
  asRelativePath: (uri: string) => uri.replace('file:///', ''),
  getConfiguration: (_: string, scope: { readonly languageId?: string } | null = null) => ({
    get: (key: string) => {
      const { languages, workspace, user, defaults } = configuration;
      return [languages.get(scope?.languageId ?? ''), workspace, user, defaults].find((values) => values?.has(key))?.get(key);
    },
    inspect: (key: string) => ({ defaultValue: configuration.defaults.get(key), globalValue: configuration.user.get(key), workspaceValue: configuration.workspace.get(key) }),
    update: (key: string, value: unknown, target: ConfigurationTarget) => {
      configuration.updates.push({ key, value, target });
      return Promise.resolve();
    },
  }),
};

export const Uri = { joinPath: (...parts: readonly unknown[]) => parts.join('/'), parse: (uri: string) => uri };

/** Of globs, only the beginning of a name is understood. */
export const languages = {
  match: (filters: readonly { readonly pattern: string }[], { uri }: { readonly uri: unknown }) =>
    filters.some(({ pattern }) => /\/\w*\.\w+\*$/.test(pattern) && String(uri).includes(pattern.slice(pattern.lastIndexOf('/'), -1))) ? 10 : 0,
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

export class ThemeIcon {
  constructor(readonly id: string) {}
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
  showQuickPick: ((items: readonly unknown[]) => Promise.resolve(items[-1])) as <T>(items: readonly T[], options?: unknown) => Promise<T | undefined>,
  createQuickPick: nothing as () => unknown,
  showOpenDialog: unanswered,
  setStatusBarMessage: nothing,
  onDidChangeActiveTextEditor: events.on('onDidChangeActiveTextEditor'),
  /** One tab that the API has no name for, as the walkthrough's. */
  tabGroups: { all: [{ tabs: [{ input: undefined }] }] as { tabs: { input: unknown }[] }[], onDidChangeTabs: events.on('onDidChangeTabs') },
  registerWebviewViewProvider: () => ({ dispose: nothing }),
  withProgress: <T>(_: unknown, task: (progress: unknown, token: unknown) => Promise<T>): Promise<T> =>
    task({ report: () => undefined }, { onCancellationRequested: () => ({ dispose: () => undefined }) }),
};
/** Contributions of the editor's extensions. */
export const extensions = {
  all: [{ packageJSON: {} }, { packageJSON: { contributes: { languages: [{ id: 'markdown', aliases: ['Markdown', 'md'] }, { id: 'dart' }] } } }] as readonly { packageJSON: unknown }[],
};

export const commands = {
  executeCommand: unanswered,
  registerCommand: (id: string) => {
    events.commands.push(id);
    return { dispose: nothing };
  },
};

export const env = { language: 'en', clipboard: { writeText: unanswered } };
