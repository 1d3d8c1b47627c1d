/**
 * The output channels. None opens itself; an error notification offers to open them, and shows each error once. Lines that
 * are only logged are English in every language.
 */
import * as vscode from 'vscode';

import { COMMANDS } from './ids';
import { t } from './l10n';

export interface Log {
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export class Channels implements vscode.Disposable {
  readonly extension = vscode.window.createOutputChannel('Green Code', { log: true });
  private serverChannel: vscode.LogOutputChannel | undefined;
  private readonly shown = new Set<string>();

  /** What the front says on stderr and what the client says about it; made when a front starts. */
  get server(): vscode.LogOutputChannel {
    this.serverChannel ??= vscode.window.createOutputChannel('Green Code Server', { log: true });
    return this.serverChannel;
  }

  show(): void {
    this.extension.show(true);
  }

  /** Logs, and notifies once per text: an error that repeats itself is not news. */
  report(message: string, ...actions: readonly { title: string; command: string }[]): void {
    this.extension.error(message);
    if (this.shown.has(message)) {
      return;
    }
    this.shown.add(message);
    const all = [...actions, { title: t('Show Log'), command: COMMANDS.showLog }];
    void vscode.window.showErrorMessage(message, ...all.map(({ title }) => title)).then((chosen) => {
      const action = all.find(({ title }) => title === chosen);
      if (action) {
        void vscode.commands.executeCommand(action.command);
      }
    });
  }

  /** After something has started well, the same error would be news again. */
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
