/** The status item: draws the presentation at most once a second, and only for supported documents. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { isNeeded, isSupported, SCHEMES } from '../settings';
import type { Store } from '../state/store';
import { Throttle } from '../state/throttle';
import type { Calibration } from '../threshold/calibration';
import { present } from './presentation';

const INTERVAL_MS = 1000;
/** The only commands that links in the tooltip may run. */
const LINKS = [COMMANDS.setThreshold, COMMANDS.energyReport, COMMANDS.whyNoSuggestion, COMMANDS.showLog];

export class StatusItem implements vscode.Disposable {
  private readonly item = vscode.window.createStatusBarItem('status', vscode.StatusBarAlignment.Right, 100);
  private readonly throttle = new Throttle(() => void this.draw(), INTERVAL_MS);
  private readonly listeners: { dispose(): void }[];
  private drawn = '';

  constructor(
    private readonly store: Store,
    private readonly calibration: () => Promise<Calibration>,
  ) {
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

  private async draw(): Promise<void> {
    const { suggestions } = await this.calibration();
    const shown = present(this.store.snapshot, suggestions);
    const key = JSON.stringify(shown);
    if (key !== this.drawn) {
      this.drawn = key;
      const tooltip = new vscode.MarkdownString(shown.tooltip);
      tooltip.isTrusted = { enabledCommands: LINKS };
      this.item.text = shown.text;
      this.item.tooltip = tooltip;
      this.item.accessibilityInformation = { label: shown.label, role: 'button' };
      this.item.backgroundColor = shown.error ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
      this.item.command = shown.state === 'setUp' ? COMMANDS.setUp : COMMANDS.menu;
    }
    this.setVisible();
  }

  /** Hidden while idle. Shown where suggestions are off, so that the user can switch them on. */
  private setVisible(): void {
    const { settings, phase } = this.store.snapshot;
    const isActive = phase !== 'idle' || (!settings.enabled && isNeeded(settings));
    if (settings.statusBar && isActive && this.belongsTo(vscode.window.activeTextEditor)) {
      this.item.show();
    } else {
      this.item.hide();
    }
  }

  /** An editor of another language hides the item. A panel, a web view or no editor leaves it. */
  private belongsTo(editor: vscode.TextEditor | undefined): boolean {
    const document = editor?.document;
    return document === undefined || !SCHEMES.includes(document.uri.scheme) || isSupported(this.store.snapshot.settings, document);
  }
}
