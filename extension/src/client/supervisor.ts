/**
 * Keeps one front running: starts it, restarts it after a crash (with back-off) or on request (coalesced), and passes
 * settings on. Says in the store where it stands.
 */
import fs from 'node:fs/promises';

import * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

import { bundlesFolder } from '../environment/bundles';
import { claim, unclaim } from '../environment/claims';
import { noteDaemon } from '../environment/daemon';
import { run, type RunResult } from '../environment/processes';
import { resolve, type Home, type Resolution } from '../environment/resolve';
import { daemonVariables } from '../environment/variables';
import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { messageOf, type Channels } from '../log';
import * as protocol from '../protocol';
import { SECTION, serves, settingsForFront, type Settings } from '../settings';
import type { Store } from '../state/store';
import { Backoff } from './backoff';
import { Coalesced } from './coalesce';
import { Late, within } from './deadline';

/** More than a slow front takes to start (it imports from a cold disk) or to answer: it may end an engine and wait 30 s for another. */
const PATIENCE_MS = 60_000;

type Ready = Resolution & { readonly kind: 'ready' };

export class Supervisor implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private retry: NodeJS.Timeout | undefined;
  /** The managed one that this window runs from. */
  private environment: string | undefined;
  private disposed = false;
  /** Raised with each start: what an earlier front still says is ignored. */
  private generation = 0;
  private readonly backoff = new Backoff();
  private readonly cycle = new Coalesced(() => this.stopAndStart());

  constructor(
    private readonly home: Home,
    private readonly extensionPath: string,
    private readonly channels: Channels,
    private readonly store: Store,
    private readonly onMissing: (environment: string) => void,
  ) {}

  /** Starts with the first document that we complete in: an editor without one pays nothing for us. */
  async startWhenNeeded(): Promise<void> {
    const { phase, settings } = this.store.snapshot;
    if (phase === 'idle' && vscode.workspace.textDocuments.some((document) => serves(settings, document))) {
      this.store.update({ phase: 'starting' });
      await this.restart();
    }
  }

  /** Starts, or starts anew; whoever asks is trusted to have a reason, so earlier crashes are forgiven. */
  restart(): Promise<void> {
    this.backoff.reset();
    return this.cycle.request();
  }

  /** A new engine under the same front; a new front where there is none that answers. */
  async restartEngine(): Promise<void> {
    if (this.client?.isRunning()) {
      try {
        await this.ask(protocol.LSP_RESTART_ENGINE);
        return;
      } catch (error) {
        if (!(error instanceof Late)) {
          throw error;
        }
        this.channels.extension.warn('The language server does not answer; another one is started.');
      }
    }
    await this.restart();
  }

  accepted(id: string): void {
    void this.client?.sendNotification(protocol.LSP_ACCEPTED, { id }).catch((error: unknown) => this.channels.extension.warn(messageOf(error)));
  }

  explain(): Promise<protocol.Explanation> {
    return this.ask<protocol.Explanation>(protocol.LSP_EXPLAIN);
  }

  report(): Promise<protocol.Report> {
    return this.ask<protocol.Report>(protocol.LSP_REPORT);
  }

  /** Most settings take effect in the running front; only these two make it another one. */
  async settingsChanged(before: Settings, after: Settings): Promise<void> {
    const restarts = before.pythonPath !== after.pythonPath || before.languages.join() !== after.languages.join();
    if (!restarts) {
      await this.sendSettings();
    } else if (this.store.snapshot.phase === 'idle') {
      await this.startWhenNeeded();
    } else {
      await this.restart();
    }
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.retry);
  }

  /** Ends the front; the editor waits for this when the window closes. */
  async stop(): Promise<void> {
    clearTimeout(this.retry);
    this.generation += 1;
    const { client, environment } = this;
    this.client = this.environment = undefined;
    await client?.dispose(2000).catch((error: unknown) => this.channels.extension.info(`stop: ${messageOf(error)}`));
    if (environment !== undefined) {
      await unclaim(environment).catch((error: unknown) => this.channels.extension.info(`stop: ${messageOf(error)}`));
    }
  }

  /** Runs a command of the daemon's with the interpreter in force, to its end. */
  async runDaemon(args: readonly string[], signal?: AbortSignal): Promise<RunResult> {
    const resolution = await this.interpreter();
    if (resolution.kind !== 'ready') {
      throw new Error(resolution.kind === 'wrong' ? resolution.message : t('There is no environment yet. Run Green Code: Set Up.'));
    }
    return run(resolution.python, ['-m', 'green_code', ...args], { cwd: this.home.storage, env: this.variables(resolution), ...(signal === undefined ? {} : { signal }) });
  }

  /** Ends what runs from the managed environment, the engine included: its files are about to be replaced. */
  async release(): Promise<void> {
    const resolution = await this.interpreter();
    if (resolution.kind === 'ready' && resolution.origin === 'managed') {
      await this.stop();
      await this.runDaemon(['engine', '--stop']);
    }
  }

  private async sendSettings(): Promise<void> {
    if (this.client?.isRunning()) {
      await this.client.sendNotification('workspace/didChangeConfiguration', { settings: { [SECTION]: settingsForFront() } });
    }
  }

  get isRunning(): boolean {
    return this.client?.isRunning() ?? false;
  }

  private ask<T>(method: string): Promise<T> {
    if (!this.client?.isRunning()) {
      throw new Error(this.whyNotRunning());
    }
    return within(PATIENCE_MS, this.client.sendRequest<T>(method, {}), new Late(t('The language server does not answer. Run Green Code: Restart Engine.')));
  }

  private whyNotRunning(): string {
    const { phase, detail } = this.store.snapshot;
    switch (phase) {
      case 'idle':
        return t('Green Code is not running yet: it starts with a document of a chosen language (greenCode.languages).');
      case 'setUp':
        return t('There is no environment yet. Run Green Code: Set Up.');
      default:
        return detail || t('Green Code is not running.');
    }
  }

  private async stopAndStart(): Promise<void> {
    try {
      await this.stop();
      if (!this.disposed) {
        await this.startWhatIsThere();
      }
    } catch (error) {
      this.store.update({ phase: 'failed', status: null, detail: messageOf(error) });
      throw error;
    }
  }

  private async startWhatIsThere(): Promise<void> {
    const { settings } = this.store.snapshot;
    const resolution = await this.interpreter();
    if (resolution.kind === 'ready') {
      await this.start(resolution, settings);
      return;
    }
    this.store.update({ phase: resolution.kind === 'missing' ? 'setUp' : 'failed', status: null, detail: '' });
    if (resolution.kind === 'missing') {
      this.channels.extension.info('No environment yet: run Green Code: Set Up.');
      this.onMissing(resolution.environment);
    } else {
      this.store.update({ detail: resolution.message });
      this.channels.report(resolution.message);
    }
  }

  private async interpreter(): Promise<Resolution> {
    await fs.mkdir(this.home.storage, { recursive: true });
    return resolve({ ...this.home, pythonPath: this.store.snapshot.settings.pythonPath });
  }

  private variables({ origin }: Ready): NodeJS.ProcessEnv {
    return daemonVariables(origin, bundlesFolder(this.extensionPath));
  }

  private async start(resolution: Ready, settings: Settings): Promise<void> {
    this.channels.extension.info(`Starting ${resolution.python} (${resolution.origin === 'setting' ? 'greenCode.pythonPath' : 'managed environment'})`);
    if (resolution.origin === 'managed') {
      this.environment = resolution.environment;
      await claim(resolution.environment).catch((error: unknown) => this.channels.extension.info(`An update may remove this environment: ${messageOf(error)}`));
    }
    this.store.update({ phase: 'starting', status: null, detail: '' });
    const generation = ++this.generation;
    const ours = () => generation === this.generation;
    const { createClient } = await import('./client');
    const client = createClient({
      python: resolution.python,
      cwd: this.home.storage,
      env: this.variables(resolution),
      settings,
      channel: this.channels.server,
      onStatus: (status) => {
        if (ours()) {
          this.store.update({ status });
        }
      },
      onEnergy: (energy) => {
        if (ours()) {
          this.store.update({ energy, today: { totals: energy.today, source: energy.source } });
        }
      },
      onClosed: () => this.crashed(generation, t('it ended unexpectedly')),
    });
    this.client = client;
    try {
      await within(PATIENCE_MS, client.start(), new Late(t('it does not answer')));
      if (ours()) {
        this.store.update({ phase: 'running' });
        this.channels.forgetShown();
        noteDaemon(this.extensionPath, { ...resolution, cwd: this.home.storage }).catch((error: unknown) =>
          this.channels.extension.info(`An uninstall will not find the engine: ${messageOf(error)}`),
        );
        if (this.store.snapshot.settings !== settings) {
          await this.sendSettings(); // where the change asks for another front, that one waits already for this start to end
        }
        if (this.store.snapshot.settings.enabled) {
          // not otherwise: the report comes from an engine, started for it if need be
          this.recall().catch((error: unknown) => this.channels.extension.info(`No report yet: ${messageOf(error)}`));
        }
      }
    } catch (error) {
      if (error instanceof Late) {
        await client.dispose(2000).catch((refusal: unknown) => this.channels.extension.info(`stop: ${messageOf(refusal)}`));
      }
      this.crashed(generation, messageOf(error));
    }
  }

  /** What the ledger has of today stands in the status item before this window completes anything. */
  private async recall(): Promise<void> {
    const generation = this.generation;
    const { today, source } = await this.report();
    if (generation === this.generation) {
      this.store.update({ today: source === null ? null : { totals: today, source } });
    }
  }

  private crashed(generation: number, cause: string): void {
    if (generation !== this.generation || this.disposed) {
      return;
    }
    this.generation += 1; // one crash may be noticed twice: by the start that fails and by the closed connection
    const waitMs = this.backoff.next();
    if (waitMs === null) {
      const detail = t('The language server keeps failing ({cause}).', { cause });
      this.store.update({ phase: 'failed', status: null, detail });
      const cure = this.environment !== undefined ? { title: t('Set Up Again'), command: COMMANDS.setUp } : null;
      this.channels.report(`Green Code: ${detail}`, [{ title: t('Restart'), command: COMMANDS.restartEngine }, ...(cure ? [cure] : [])], 'server');
      return;
    }
    this.channels.extension.warn(`The language server failed (${cause}); next start in ${waitMs} ms.`);
    this.store.update({ phase: 'starting', status: null, detail: '' });
    this.retry = setTimeout(() => {
      this.cycle.request().catch((error: unknown) => this.channels.report(`Green Code: ${messageOf(error)}`));
    }, waitMs);
  }
}
