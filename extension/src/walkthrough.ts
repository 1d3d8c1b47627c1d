/** Completes steps of the walkthrough when their event has happened: that a command was run is not enough. */
import * as vscode from 'vscode';

import { CONTEXTS } from './ids';
import type { Settings } from './settings';

export function markDone(step: keyof typeof CONTEXTS): void {
  void vscode.commands.executeCommand('setContext', CONTEXTS[step], true);
}

/** However the stop or the threshold was set. The editor's own event also fires for the default, when the extension is installed. */
export function markThresholdDone(before: Settings, after: Settings): void {
  if (before.suggestions !== after.suggestions || before.threshold !== after.threshold) {
    markDone('threshold');
  }
}
