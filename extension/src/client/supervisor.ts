/**
 * Keeps one front running: starts it, and restarts it on request (coalesced) or after a crash (with back-off). Passes on
 * settings that change. The store holds its phase.
 */
import type * as vscode from 'vscode';
import type { LanguageClient } from 'vscode-languageclient/node';

import { noAnswerIn } from '../environment/causes';
import { claim, unclaim } from '../environment/claims';
import type { Daemon } from '../environment/daemon';
import type { Ready, Resolution } from '../environment/resolve';
import { recordDaemon } from '../environment/uninstallRecord';
import { messageOf, type Channels } from '../log';
import { isNeeded, settingId, type Settings } from '../settings';
import { suggests, type Snapshot, type Store } from '../state/store';
import { markDone } from '../walkthrough';
import { Backoff } from './backoff';
import { Coalesced } from './coalesce';
import { endedUnexpectedly, showCrashes, showWrongInterpreter, whyNotRunning } from './messages';
import { ANSWER_TIMEOUT_MS, Requests } from './requests';
import { TimedOut, withTimeout } from './timeout';

/** The Settings editor writes at each pause in typing, and half a path is no interpreter. */
const PYTHON_PATH_DEBOUNCE_MS = 3000;
const STOP_TIMEOUT_MS = 2000;

export class Supervisor implements vscode.Disposable {
  readonly requests: Requests;
  private client: LanguageClient | undefined;
  private restartTimer: NodeJS.Timeout | undefined;
  private pythonPathTimer: NodeJS.Timeout | undefined;
  /** The managed environment that this window runs from. */
  private claimed: string | undefined;
  private disposed = false;
  /** Raised at each start and stop: events of an earlier front are ignored. */
  private generation = 0;
  private readonly backoff = new Backoff();
  private readonly cycle = new Coalesced(() => this.stopAndStart());

  constructor(
    private readonly daemon: Daemon,
    private readonly channels: Channels,
    private readonly store: Store,
    private readonly onMissing: (environment: string) => void,
  ) {
    this.requests = new Requests(() => this.client, store, channels);
  }

  /** Starts with the first supported document. A window without one, or with suggestions off, starts no process. */
  async startWhenNeeded(): Promise<void> {
    const { phase, settings } = this.store.snapshot;
    if (phase === 'idle' && settings.enabled && isNeeded(settings)) {
      this.store.update({ phase: 'starting' });
      await this.restart();
    }
  }

  /** Starts or restarts on request: earlier crashes no longer count, and errors are shown again. */
  restart(): Promise<void> {
    clearTimeout(this.pythonPathTimer); // this start reads the settings
    this.backoff.reset();
    this.channels.resetShown();
    return this.cycle.request();
  }

  /** Starts a new engine, and a new front where none answers. Throws where nothing can be started. */
  async restartEngine(): Promise<void> {
    if (this.requests.isConnected) {
      try {
        await this.requests.restartEngine();
        return;
      } catch (error) {
        if (!(error instanceof TimedOut)) {
          throw error;
        }
        this.channels.extension.warn('The language server does not answer. Starting another one.');
      }
    }
    await this.restart();
    if (this.store.snapshot.phase === 'setUp') {
      throw new Error(whyNotRunning(this.store.snapshot));
    }
  }

  /** Only an interpreter or languages that change need another front. Switching on offers Set Up where it is missing. */
  async settingsChanged(before: Settings, after: Settings): Promise<void> {
    const { phase } = this.store.snapshot;
    const offersSetUp = phase === 'setUp' && after.enabled && !before.enabled;
    if (phase === 'idle') {
      await this.startWhenNeeded();
    } else if (before.pythonPath !== after.pythonPath) {
      clearTimeout(this.pythonPathTimer);
      this.pythonPathTimer = setTimeout(() => void this.restart().catch(this.channels.showFailure), PYTHON_PATH_DEBOUNCE_MS);
    } else if (before.languages.join() !== after.languages.join() || offersSetUp) {
      await this.restart();
    } else {
      await this.requests.sendSettings();
    }
  }

  dispose(): void {
    this.disposed = true;
    clearTimeout(this.restartTimer);
    clearTimeout(this.pythonPathTimer);
  }

  /** Ends the front. The editor waits for this when the window closes. */
  async stop(): Promise<void> {
    clearTimeout(this.restartTimer);
    this.generation += 1;
    const { client, claimed } = this;
    this.client = this.claimed = undefined;
    await client?.dispose(STOP_TIMEOUT_MS).catch(this.channels.logFailure('stop'));
    if (claimed !== undefined) {
      await unclaim(claimed).catch(this.channels.logFailure('stop'));
    }
  }

  /** Ends the front and the engine that run from the managed environment, before its files are replaced. */
  async release(): Promise<void> {
    const interpreter = await this.daemon.interpreter();
    if (interpreter.kind === 'ready' && interpreter.origin === 'managed') {
      await this.stop();
      await this.daemon.run(['engine', '--stop']);
    }
  }

  /** The running front continues until the next interpreter is known: a configured one may take long to answer. */
  private async stopAndStart(): Promise<void> {
    try {
      const { snapshot } = this.store;
      const interpreter = await this.daemon.interpreter().finally(() => this.stop());
      if (!this.disposed) {
        await this.startWith(interpreter, snapshot);
      }
    } catch (error) {
      this.update({ phase: 'failed', status: null, detail: messageOf(error) });
      throw error;
    }
  }

  private async startWith(interpreter: Resolution, snapshot: Snapshot): Promise<void> {
    switch (interpreter.kind) {
      case 'ready':
        await this.start(interpreter, snapshot);
        break;
      case 'missing':
        this.update({ phase: 'setUp', status: null, detail: '' });
        this.channels.extension.info('No environment yet: run Green Code: Set Up.');
        this.onMissing(interpreter.name);
        break;
      case 'wrong':
        this.update({ phase: 'failed', status: null, detail: interpreter.message });
        showWrongInterpreter(this.channels, interpreter.message);
    }
  }

  private async start(interpreter: Ready, snapshot: Snapshot): Promise<void> {
    const { python, origin } = interpreter;
    this.channels.extension.info(`Starting ${python} (${origin === 'setting' ? settingId('pythonPath') : 'managed environment'})`);
    if (origin === 'managed') {
      this.claimed = interpreter.folder;
      await claim(interpreter.folder).catch(this.channels.logFailure('An update may remove this environment'));
    }
    this.update({ phase: 'starting', status: null, detail: '' });
    const generation = ++this.generation;
    const client = (this.client = await this.createClient(interpreter, snapshot, generation));
    try {
      await withTimeout(ANSWER_TIMEOUT_MS, client.start(), new TimedOut(noAnswerIn(ANSWER_TIMEOUT_MS)));
      if (generation === this.generation) {
        await this.started(interpreter, snapshot);
      }
    } catch (error) {
      if (error instanceof TimedOut) {
        await client.dispose(STOP_TIMEOUT_MS).catch(this.channels.logFailure('stop'));
      }
      this.crashed(generation, messageOf(error));
    }
  }

  private async createClient(interpreter: Ready, snapshot: Snapshot, generation: number): Promise<LanguageClient> {
    const updateIfCurrent = (change: Partial<Snapshot>) => {
      if (generation === this.generation) {
        this.store.update(change);
      }
    };
    const { createClient } = await import('./client');
    return createClient({
      python: interpreter.python,
      cwd: this.daemon.cwd,
      env: this.daemon.variables(interpreter),
      snapshot,
      channel: this.channels.engine,
      onStatus: (status) => updateIfCurrent({ status }),
      onEnergy: (energy) => updateIfCurrent({ energy, today: energy.today }),
      onClosed: () => this.crashed(generation, endedUnexpectedly()),
    });
  }

  private async started({ python, origin }: Ready, before: Snapshot): Promise<void> {
    const { channels, daemon, store } = this;
    this.update({ phase: 'running' });
    markDone('setUp');
    channels.resetShown();
    recordDaemon(daemon.extensionPath, { python, origin, cwd: daemon.cwd }).catch(channels.logFailure('An uninstall will not find the engine'));
    const now = store.snapshot;
    if (now.settings !== before.settings || now.endpoint !== before.endpoint || suggests(now) !== suggests(before)) {
      await this.requests.sendSettings(); // a change that needs another front restarts after this start
    }
    if (suggests(now)) {
      // Only then: the report needs an engine, which would be started for it.
      this.readTodaysTotals().catch(channels.logFailure('No report yet'));
    }
  }

  /** The status item shows today's totals before this window completes anything. */
  private async readTodaysTotals(): Promise<void> {
    const generation = this.generation;
    const { today } = await this.requests.report();
    if (generation === this.generation) {
      this.store.update({ today: today.source === null ? null : today });
    }
  }

  private crashed(generation: number, cause: string): void {
    if (generation !== this.generation || this.disposed) {
      return;
    }
    this.generation += 1; // a crash may be reported twice: by the failed start and by the closed connection
    const delayMs = this.backoff.next();
    if (delayMs === null) {
      const detail = showCrashes(this.channels, cause, this.claimed !== undefined);
      this.update({ phase: 'failed', status: null, detail });
      return;
    }
    this.channels.extension.warn(`The language server failed (${cause}). Next start in ${delayMs} ms.`);
    this.update({ phase: 'starting', status: null, detail: '' });
    this.restartTimer = setTimeout(() => void this.cycle.request().catch(this.channels.showFailure), delayMs);
  }

  /** During Set Up, the window shows Set Up alone; the front starts again when it ends. */
  private update(change: Partial<Snapshot>): void {
    if (this.store.snapshot.phase !== 'settingUp') {
      this.store.update(change);
    }
  }
}
