/**
 * The output channels. None opens by itself; an error notification offers to open one, and each error is shown once. Log lines
 * are English in every language. What the user was shown is logged as it was shown.
 */
import * as vscode from 'vscode';

import { t } from './l10n';

export interface Action {
  readonly title: string;
  readonly command: string;
  readonly args?: readonly unknown[];
}

export class Channels implements vscode.Disposable {
  readonly extension = vscode.window.createOutputChannel('Green Code', { log: true });
  private engineChannel: vscode.LogOutputChannel | undefined;
  private readonly shown = new Set<string>();

  /** The front's stderr and the client's log. Created when a front starts. */
  get engine(): vscode.LogOutputChannel {
    this.engineChannel ??= vscode.window.createOutputChannel('Green Code Engine', { log: true });
    return this.engineChannel;
  }

  show(): void {
    this.extension.show(true);
  }

  /** Logs an error, and shows it once per text. `cause`: the channel that Show Log opens. */
  showError(message: string, actions: readonly Action[] = [], cause: 'extension' | 'engine' = 'extension'): void {
    this.extension.error(message);
    if (this.shown.has(message)) {
      return;
    }
    this.shown.add(message);
    const showLog = t('common.showLog');
    void vscode.window.showErrorMessage(message, ...actions.map(({ title }) => title), showLog).then((chosen) => {
      const action = actions.find(({ title }) => title === chosen);
      if (action) {
        void vscode.commands.executeCommand(action.command, ...(action.args ?? []));
      } else if (chosen === showLog) {
        this[cause].show(true);
      }
    });
  }

  /** For `catch`: shows what failed in the background. */
  readonly showFailure = (error: unknown): void => this.showError(failure(error));

  /** For `catch`: logs what failed where the user need not know. */
  logFailure(what: string): (error: unknown) => void {
    return (error) => this.extension.info(`${what}: ${messageOf(error)}`);
  }

  /** After a successful start, or a start on request, errors are shown again. */
  resetShown(): void {
    this.shown.clear();
  }

  dispose(): void {
    this.extension.dispose();
    this.engineChannel?.dispose();
  }
}

/** The text of a thrown value. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The same, for a notification. */
export const failure = (error: unknown): string => `Green Code: ${messageOf(error)}`;
