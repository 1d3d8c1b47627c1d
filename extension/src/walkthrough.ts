/** Completes steps of the walkthrough when their event has happened: that a command was run is not enough. */
import * as vscode from 'vscode';

import { CONTEXTS } from './ids';
import type { Settings } from './settings';

/** The extension's memory in the editor. A step that was done in an earlier window, before the walkthrough was opened, stays done. */
let memory: vscode.Memento | undefined;

/** At activation: the steps that are done already. */
export function restoreDone(state: vscode.Memento): void {
  memory = state;
  Object.values(CONTEXTS)
    .filter((key) => state.get(key) === true)
    .forEach(setDone);
}

export function markDone(step: keyof typeof CONTEXTS): void {
  const key = CONTEXTS[step];
  setDone(key);
  if (memory?.get(key) !== true) {
    void memory?.update(key, true);
  }
}

function setDone(key: string): void {
  void vscode.commands.executeCommand('setContext', key, true);
}

/** However the stop or the threshold was set. The editor's own event also fires for the default, when the extension is installed. */
export function markThresholdDone(before: Settings, after: Settings): void {
  if (before.suggestions !== after.suggestions || before.threshold !== after.threshold) {
    markDone('threshold');
  }
}
