/** Ticks steps of the walkthrough once what they are about has happened: that a command was run says too little. */
import * as vscode from 'vscode';

import { CONTEXTS } from './ids';
import type { Settings } from './settings';

export function tick(step: keyof typeof CONTEXTS): void {
  void vscode.commands.executeCommand('setContext', CONTEXTS[step], true);
}

/** However it was set. The editor's own event for this comes with the default already, when the extension is installed. */
export function tickThreshold(before: Settings, after: Settings): void {
  if (before.threshold !== after.threshold) {
    tick('threshold');
  }
}
