/** Completes steps of the walkthrough when their event has happened: that a command was run is not enough. */
import * as vscode from 'vscode';

import { CONTEXTS } from './ids';
import type { Settings } from './settings';

/** The extension's memory in the editor, and the context keys of the steps that are done, also in earlier windows. */
let memory: vscode.Memento | undefined;
let done = new Set<string>();
let wasOpen = false;

/** At activation. The steps that are done follow the walkthrough's tab from now on. */
export function restoreDone(state: vscode.Memento): vscode.Disposable {
  memory = state;
  done = new Set(Object.values(CONTEXTS).filter((key) => state.get(key) === true));
  wasOpen = false;
  showDone();
  return vscode.window.tabGroups.onDidChangeTabs(showDone);
}

export function markDone(step: keyof typeof CONTEXTS): void {
  const key = CONTEXTS[step];
  done.add(key);
  if (mayBeOpen()) {
    set(key, true);
  }
  if (memory?.get(key) !== true) {
    void memory?.update(key, true);
  }
}

/** VS Code ticks a step when its key becomes true, and never if it was true when the walkthrough was read: so only while it may be open. */
function showDone(): void {
  const isOpen = mayBeOpen();
  if (isOpen !== wasOpen) {
    wasOpen = isOpen;
    done.forEach((key) => set(key, isOpen));
  }
}

/** The API has no name for the walkthrough's tab, as for few others. */
const mayBeOpen = () => vscode.window.tabGroups.all.some(({ tabs }) => tabs.some(({ input }) => input === undefined));

function set(key: string, value: boolean): void {
  void vscode.commands.executeCommand('setContext', key, value);
}

/** However the stop or the threshold was set. The editor's own event also fires for the default, when the extension is installed. */
export function markThresholdDone(before: Settings, after: Settings): void {
  if (before.suggestions !== after.suggestions || before.threshold !== after.threshold) {
    markDone('threshold');
  }
}
