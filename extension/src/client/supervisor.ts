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
import { isNeeded, openSetting, SECTION, settingsForFront, type Settings } from '../settings';
import type { Snapshot, Store } from '../state/store';
import { tick } from '../walkthrough';
import { Backoff } from './backoff';
import { Coalesced } from './coalesce';
import { Late, within } from './deadline';

/** More than a slow front takes to start (it imports from a cold disk) or to answer: it may end an engine and wait 30 s for another. */
const PATIENCE_MS = 60_000;
/** The Settings editor writes at each pause in typing, and half a path is no interpreter. */
const TYPING_MS = 3000;

type Ready = Resolution & { readonly kind: 'ready' };

export class Supervisor implements vscode.Disposable {
  private client: LanguageClient | undefined;
  private retry: NodeJS.Timeout | undefined;
  /** Until the interpreter is taken to be typed to its end. */
  private typing: NodeJS.Timeout | undefined;
  /** The folder of the managed one that this window runs from. */
  private environment: string | undefined;
  private disposed = false;
  /** Raised with each start: what an earlier front still says is ignored. */
  private generation = 0;
  private readonly backoff = new Backoff();
  private readonly cycle = new Coalesced(() => this.stopAndStart());
  private readonly tell = (error: unknown): void => this.channels.report(`Green Code: ${messageOf(error)}`);

  constructor(
    private readonly home: Home,
    private readonly extensionPath: string,
    private readonly channels: Channels,
    private readonly store: Store,
    private readonly onMissing: (environment: string) => void,
  ) {}

  /** Starts with the first document that we complete in: an editor without one, or with suggestions off, pays nothing for us. */
  async startWhenNeeded(): Promise<void> {
    const { phase, settings } = this.store.snapshot;
    if (phase === 'idle' && settings.enabled && isNeeded(settings)) {
      this.store.update({ phase: 'starting' });
      await this.restart();
    }
  }

  /** Starts, or starts anew; whoever asks is trusted to have a reason, so earlier crashes are forgiven, and the next ones told again. */
  restart(): Promise<void> {
    clearTimeout(this.typing); // the settings are read now
    this.backoff.reset();
    this.channels.forgetShown();
    return this.cycle.request();
  }

  /** A new engine under the same front; a new front where there is none that answers. Throws where nothing can be started. */
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
    if (this.store.snapshot.phase === 'setUp') {
      throw new Error(this.whyNotRunning());
    }
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

  /** Most settings take effect in the running front; only two make it another one. Switched on, what is missing is offered. */
  async settingsChanged(before: Settings, after: Settings): Promise<void> {
    const { phase } = this.store.snapshot;
    const isOffered = phase === 'setUp' && after.enabled && !before.enabled;
    if (phase === 'idle') {
      await this.startWhenNeeded();
    } else if (before.pythonPath !== after.pythonPath) {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => void this.restart().catch(this.tell), TYPING_MS);
    } else if (before.languages.join() !== after.languages.join() || isOffered) {
      await this.restart();
    } else {
      await this.sendSettings();
    }
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.retry);
    clearTimeout(this.typing);
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

  /** Without our name, which is put before it where it is shown. */
  private whyNotRunning(): string {
    const { phase, detail, settings } = this.store.snapshot;
    switch (phase) {
      case 'idle':
        return settings.enabled
          ? t('The language server is not running yet: it starts with a document of a chosen language (greenCode.languages).')
          : t('The language server is not running: suggestions are switched off (greenCode.enabled).');
      case 'setUp':
        return t('There is no environment yet. Run Green Code: Set Up.');
      case 'settingUp':
        return t('Set Up is still at work. Try again when it is done.');
      case 'starting':
        return t('The language server is starting. Try again in a moment.');
      default:
        return detail || t('The language server is not running.');
    }
  }

  /** Says where the front stands, but not while Set Up runs: until its end, when the front starts anew, that is what there is to say. */
  private say(change: Partial<Snapshot>): void {
    if (this.store.snapshot.phase !== 'settingUp') {
      this.store.update(change);
    }
  }

  /** What runs goes on until it is known what comes after it: an interpreter that is named may take its time to answer. */
  private async stopAndStart(): Promise<void> {
    try {
      const { settings } = this.store.snapshot;
      const resolution = await this.interpreter().finally(() => this.stop());
      if (!this.disposed) {
        await this.startWhatIsThere(resolution, settings);
      }
    } catch (error) {
      this.say({ phase: 'failed', status: null, detail: messageOf(error) });
      throw error;
    }
  }

  private async startWhatIsThere(resolution: Resolution, settings: Settings): Promise<void> {
    switch (resolution.kind) {
      case 'ready':
        await this.start(resolution, settings);
        break;
      case 'missing':
        this.say({ phase: 'setUp', status: null, detail: '' });
        this.channels.extension.info('No environment yet: run Green Code: Set Up.');
        this.onMissing(resolution.name);
        break;
      case 'wrong':
        this.say({ phase: 'failed', status: null, detail: resolution.message });
        this.channels.report(resolution.message, [openSetting(`${SECTION}.pythonPath`)]);
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
      this.environment = resolution.folder;
      await claim(resolution.folder).catch((error: unknown) => this.channels.extension.info(`An update may remove this environment: ${messageOf(error)}`));
    }
    this.say({ phase: 'starting', status: null, detail: '' });
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
          this.store.update({ energy, today: energy.today });
        }
      },
      onClosed: () => this.crashed(generation, t('it ended unexpectedly')),
    });
    this.client = client;
    try {
      await within(PATIENCE_MS, client.start(), new Late(t('it does not answer')));
      if (ours()) {
        this.say({ phase: 'running' });
        tick('setUp');
        this.channels.forgetShown();
        noteDaemon(this.extensionPath, { ...resolution, cwd: this.home.storage }).catch((error: unknown) =>
          this.channels.extension.info(`An uninstall will not find the engine: ${messageOf(error)}`),
        );
        if (this.store.snapshot.settings !== settings) {
          await this.sendSettings(); // where the change asks for another front, that one comes after this start
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
    const { today } = await this.report();
    if (generation === this.generation) {
      this.store.update({ today: today.source === null ? null : today });
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
      this.say({ phase: 'failed', status: null, detail });
      const cure = this.environment !== undefined ? { title: t('Set Up Again'), command: COMMANDS.setUp } : null;
      this.channels.report(`Green Code: ${detail}`, [{ title: t('Restart'), command: COMMANDS.restartEngine }, ...(cure ? [cure] : [])], 'server');
      return;
    }
    this.channels.extension.warn(`The language server failed (${cause}); next start in ${waitMs} ms.`);
    this.say({ phase: 'starting', status: null, detail: '' });
    this.retry = setTimeout(() => void this.cycle.request().catch(this.tell), waitMs);
  }
}
