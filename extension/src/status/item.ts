/** The status item: draws what presentation.ts says, at most once a second, and only where we serve. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { isNeeded, SCHEMES, serves } from '../settings';
import type { Store } from '../state/store';
import { Throttle } from '../state/throttle';
import { present } from './presentation';

const INTERVAL_MS = 1000;
/** What the tooltip's links may run: nothing but this. */
const LINKS = [COMMANDS.setThreshold, COMMANDS.energyReport, COMMANDS.whyNoSuggestion, COMMANDS.showLog];

export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('status', vscode.StatusBarAlignment.Right, 100);
  private readonly throttle = new Throttle(() => this.draw(), INTERVAL_MS);
  private readonly listeners: { dispose(): void }[];
  private drawn = '';

  constructor(private readonly store: Store) {
    this.item.name = 'Green Code';
    this.listeners = [
      store.onChange(() => this.throttle.request()),
      vscode.window.onDidChangeActiveTextEditor(() => this.setVisible()),
    ];
    this.throttle.request();
  }

  dispose(): void {
    this.throttle.dispose();
    this.listeners.forEach((listener) => listener.dispose());
    this.item.dispose();
  }

  private draw(): void {
    const shown = present(this.store.snapshot);
    const key = JSON.stringify(shown);
    if (key !== this.drawn) {
      this.drawn = key;
      const tooltip = new vscode.MarkdownString(shown.tooltip);
      tooltip.isTrusted = { enabledCommands: LINKS };
      this.item.text = shown.text;
      this.item.tooltip = tooltip;
      this.item.accessibilityInformation = { label: shown.label, role: 'button' };
      this.item.backgroundColor = shown.error ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
      this.item.command = shown.shown === 'setUp' ? COMMANDS.setUp : COMMANDS.menu;
    }
    this.setVisible();
  }

  /** What is idle shows nothing, but where it was switched off: there it says so, and is switched on again. */
  private setVisible(): void {
    const { settings, phase } = this.store.snapshot;
    const isThere = phase !== 'idle' || (!settings.enabled && isNeeded(settings));
    if (settings.statusBar && isThere && this.serves(vscode.window.activeTextEditor)) {
      this.item.show();
    } else {
      this.item.hide();
    }
  }

  /** An editor of another language hides the item; a panel, a web view or no editor at all leaves it. */
  private serves(editor: vscode.TextEditor | undefined): boolean {
    const document = editor?.document;
    return document === undefined || !SCHEMES.includes(document.uri.scheme) || serves(this.store.snapshot.settings, document);
  }
}
