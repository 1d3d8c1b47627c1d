/** Set Up as the user sees it: consent, progress that can be cancelled, and the result. */
import fs from 'node:fs/promises';

import * as vscode from 'vscode';

import { COMMANDS, WALKTHROUGH } from '../ids';
import { t } from '../l10n';
import { messageOf, type Channels } from '../log';
import { writeSetting } from '../settings';
import { fileSize, gigabytes, whole } from '../state/format';
import type { Store } from '../state/store';
import { hasOtherVersion, wasInterrupted } from './folders';
import { Cancelled, freeBytesIn, install } from './install';
import { NEEDS } from './needs';
import { recordOffer, wasOffered } from './offers';
import { resolve, type Home } from './resolve';

/** What Set Up takes on this machine, and what it leaves alone. */
async function consentText(storage: string): Promise<string> {
  const { packagesBytes, diskBytes, minutes } = NEEDS;
  await fs.mkdir(storage, { recursive: true });
  const free = gigabytes(await freeBytesIn(storage));
  const takes = t('consent.takes', { download: fileSize(packagesBytes), disk: gigabytes(diskBytes), free, minutes: whole(minutes) });
  return [t('consent.downloads'), takes, t('consent.promise')].join(' ');
}

/** Asks for consent to clear the setting, which would hide what Set Up installs. */
async function agreesToClear(pythonPath: string): Promise<boolean> {
  const detail = t('consent.pythonPath', { pythonPath });
  const clear = t('consent.clearPythonPath');
  return (await vscode.window.showWarningMessage(t('consent.clearQuestion'), { modal: true, detail }, clear)) === clear;
}

/** `again`: the existing environment seems to work. */
async function consents(storage: string, again: boolean): Promise<boolean> {
  const [question, answer] = again ? [t('consent.again'), t('common.setUpAgain')] : [t('consent.question'), t('setUp.setUp')];
  return (await vscode.window.showInformationMessage(question, { modal: true, detail: await consentText(storage) }, answer)) !== undefined;
}

/** Offers Set Up, and returns whether the user accepts. */
export async function acceptsSetUp(): Promise<boolean> {
  return (await vscode.window.showInformationMessage(t('setUp.offer'), t('setUp.setUp'))) !== undefined;
}

interface Attempt {
  readonly title: string;
  /** The environment that is not offered again if the user cancels. Otherwise the next start tries again: this one may be offline. */
  readonly offered?: string;
  /** Another version was set up, and its model stays. */
  readonly updates?: boolean;
  /** The `pythonPath` that the user agreed to clear; empty if there was none. */
  readonly cleared?: string;
}

/** What Set Up needs of the supervisor. */
export interface Front {
  release(): Promise<void>;
  restart(): Promise<void>;
}

export class SetUp {
  private running: Promise<void> | undefined;
  /** Counts attempts: an old message must not undo a later one. */
  private attempts = 0;
  private installing: { readonly controller: AbortController; readonly ended: PromiseLike<unknown> } | undefined;

  constructor(
    private readonly home: Home,
    private readonly channels: Channels,
    private readonly store: Store,
    private readonly front: Front,
    /** The question for a first model, where there is none. */
    private readonly chooseModel: () => Promise<void>,
  ) {}

  /**
   * Offers Set Up once per environment; later the status item shows that it is missing. A user who has set up another version has
   * agreed already: the environment of this version is created at once, and so is one whose window was killed meanwhile. With
   * suggestions off, nothing happens.
   */
  async offer(environment: string): Promise<void> {
    const { storage } = this.home;
    if (!this.store.snapshot.settings.enabled || this.running !== undefined) {
      return;
    }
    if (await wasInterrupted(storage, environment)) {
      await this.begin(() => this.install({ title: t('setUp.title'), offered: environment }));
      return;
    }
    if (await wasOffered(storage, environment)) {
      return;
    }
    if (await hasOtherVersion(storage, environment)) {
      await this.begin(() => this.install({ title: t('setUp.updating'), offered: environment, updates: true }));
      return;
    }
    await this.recordOffer(environment);
    if (await acceptsSetUp()) {
      await this.start();
    }
  }

  /** A second call joins the attempt that is running. */
  start(): Promise<void> {
    return this.begin(() => this.consentAndInstall());
  }

  private begin(work: () => Promise<void>): Promise<void> {
    this.running ??= work().finally(() => (this.running = undefined));
    return this.running;
  }

  /** When the window closes: pip must end, and its files must be removed. */
  async abort(): Promise<void> {
    this.installing?.controller.abort();
    await this.installing?.ended;
  }

  private async consentAndInstall(): Promise<void> {
    const { pythonPath } = this.store.snapshot.settings;
    if (pythonPath !== '' && !(await agreesToClear(pythonPath))) {
      return;
    }
    const isReady = (await resolve({ ...this.home, pythonPath: '' })).kind === 'ready';
    if (isReady && (pythonPath !== '' || this.store.snapshot.phase === 'setUp')) {
      await this.clear(pythonPath);
      await this.front.restart(); // with the environment that exists, perhaps created by another window
      return;
    }
    if (await consents(this.home.storage, isReady && this.store.snapshot.phase !== 'failed')) {
      await this.install({ title: t('setUp.title'), cleared: pythonPath });
    }
  }

  /** Clears the path that the user agreed to clear, but not one that was set since. */
  private async clear(agreed: string): Promise<void> {
    if (agreed !== '' && this.store.snapshot.settings.pythonPath === agreed) {
      await writeSetting('pythonPath', '');
    }
  }

  private async recordOffer(environment: string): Promise<void> {
    await recordOffer(this.home.storage, environment).catch(this.channels.logFailure('It will be offered again'));
  }

  private async install(attempt: Attempt): Promise<void> {
    const { offered } = attempt;
    this.attempts += 1;
    this.store.update({ phase: 'settingUp', status: null, detail: '' });
    const problem = await this.installWithProgress(attempt);
    if (problem === null && attempt.updates !== true) {
      await this.chooseModel();
    }
    this.store.update({ phase: 'starting' }); // from here on, the supervisor sets the phase
    await this.front.restart(); // whatever the result: the front may have been ended
    if (problem instanceof Cancelled && offered !== undefined) {
      await this.recordOffer(offered);
    }
    if (problem === null && offered === undefined) {
      this.showReady();
    }
    if (problem === null || problem instanceof Cancelled) {
      return;
    }
    this.channels.extension.error(messageOf(problem));
    // Not awaited: a message that Esc hides is never answered.
    this.offerRetry(attempt, messageOf(problem)).catch(this.channels.showFailure);
  }

  /** Says how to begin, once the model is loaded. A model that cannot be loaded is shown by the status item. */
  private showReady(): void {
    const listener = this.store.onChange(() => void show().catch(this.channels.showFailure));
    const show = async () => {
      const { phase, status } = this.store.snapshot;
      if (phase === 'running' && (status === null || status.state === 'starting' || status.state === 'loading')) {
        return;
      }
      listener.dispose();
      if (phase === 'running' && (status?.state === 'ready' || status?.state === 'busy')) {
        const tour = t('setUp.tour');
        if ((await vscode.window.showInformationMessage(t('setUp.ready'), tour)) === tour) {
          await vscode.commands.executeCommand('workbench.action.openWalkthrough', WALKTHROUGH);
        }
      }
    };
    void show().catch(this.channels.showFailure);
  }

  private async offerRetry(attempt: Attempt, problem: string): Promise<void> {
    const last = this.attempts;
    const [retry, showLog] = [t('setUp.retry'), t('common.showLog')];
    const chosen = await vscode.window.showErrorMessage(t('setUp.failed', { problem }), retry, showLog);
    if (chosen === showLog) {
      await vscode.commands.executeCommand(COMMANDS.showLog);
    } else if (chosen === retry) {
      await this.running; // the failed attempt, or a later one
      if (this.attempts === last) {
        await this.begin(() => this.install(attempt));
      }
    }
  }

  /** Returns what went wrong, or null. */
  private async installWithProgress({ title, cleared = '' }: Attempt): Promise<unknown> {
    const options = { location: vscode.ProgressLocation.Notification, title, cancellable: true };
    const controller = new AbortController();
    const ended = vscode.window.withProgress(options, async (progress, token) => {
      const listener = token.onCancellationRequested(() => controller.abort());
      try {
        await install({
          ...this.home,
          signal: controller.signal,
          progress: (message) => progress.report({ message }),
          log: (line) => this.channels.extension.info(line),
          release: () => this.front.release(),
        });
        await this.clear(cleared);
        return null;
      } catch (error) {
        return error ?? new Error(t('setUp.causeUnknown'));
      } finally {
        listener.dispose();
      }
    });
    this.installing = { controller, ended };
    return ended;
  }
}
