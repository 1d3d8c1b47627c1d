/** Keeps the context keys for conditions in the manifest. */
import * as vscode from 'vscode';

import { CONDITIONS } from './ids';
import { suggests, type Snapshot, type Store } from './state/store';

export class Contexts implements vscode.Disposable {
  private readonly listener: { dispose(): void };
  /** The last value of each key, as JSON: the store changes with each completion. */
  private readonly known = new Map<string, string>();

  constructor(store: Store) {
    this.listener = store.onChange((snapshot) => this.follow(snapshot));
    this.follow(store.snapshot); // the window keeps the keys when its extensions restart
  }

  dispose(): void {
    this.listener.dispose();
  }

  private follow(snapshot: Snapshot): void {
    const answers = snapshot.phase === 'running' && suggests(snapshot);
    this.set(CONDITIONS.answersIn, answers ? snapshot.settings.languages : []);
    this.set(CONDITIONS.snoozed, snapshot.snooze !== null);
  }

  private set(key: string, value: unknown): void {
    const json = JSON.stringify(value);
    if (this.known.get(key) !== json) {
      this.known.set(key, json);
      void vscode.commands.executeCommand('setContext', key, value);
    }
  }
}
