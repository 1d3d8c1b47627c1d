/**
 * The output channels. None opens itself; an error notification offers to open them, and shows each error once. Lines that
 * are only logged are English in every language; what the user is told is logged as he was told it.
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
  private serverChannel: vscode.LogOutputChannel | undefined;
  private readonly shown = new Set<string>();

  /** What the front says on stderr, why it ended among that, and what the client says about it; made when a front starts. */
  get server(): vscode.LogOutputChannel {
    this.serverChannel ??= vscode.window.createOutputChannel('Green Code Server', { log: true });
    return this.serverChannel;
  }

  show(): void {
    this.extension.show(true);
  }

  /** Logs, and notifies once per text: an error that repeats itself is not news. `cause`: the channel that has it. */
  report(message: string, actions: readonly Action[] = [], cause: 'extension' | 'server' = 'extension'): void {
    this.extension.error(message);
    if (this.shown.has(message)) {
      return;
    }
    this.shown.add(message);
    const showLog = t('Show Log');
    void vscode.window.showErrorMessage(message, ...actions.map(({ title }) => title), showLog).then((chosen) => {
      const action = actions.find(({ title }) => title === chosen);
      if (action) {
        void vscode.commands.executeCommand(action.command, ...(action.args ?? []));
      } else if (chosen === showLog) {
        this[cause].show(true);
      }
    });
  }

  /** After something has started well, or was asked to start again, the same error is news. */
  forgetShown(): void {
    this.shown.clear();
  }

  dispose(): void {
    this.extension.dispose();
    this.serverChannel?.dispose();
  }
}

/** The text of whatever was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
