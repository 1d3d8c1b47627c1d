/** The status item: draws the presentation at most once a second, in every text file. */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { isNeeded } from '../settings';
import type { Store } from '../state/store';
import { Throttle } from '../state/throttle';
import type { Calibration } from '../threshold/calibration';
import { activeLanguage } from './languages';
import { present } from './presentation';

const INTERVAL_MS = 1000;
/** The only commands that links in the tooltip may run. */
const LINKS = [
  COMMANDS.toggle,
  COMMANDS.toggleLanguage,
  COMMANDS.resume,
  COMMANDS.switchMode,
  COMMANDS.setThreshold,
  COMMANDS.energyReport,
  COMMANDS.whyNoSuggestion,
  COMMANDS.showLog,
];

/** What a click does where one thing is missing; else it opens the menu. */
const REMEDIES: Readonly<Partial<Record<string, string>>> = { setUp: COMMANDS.setUp, noModel: COMMANDS.chooseModel };

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
      vscode.window.onDidChangeActiveTextEditor(() => void this.draw()), // at once: the item speaks of this editor's language
      vscode.workspace.onDidOpenTextDocument(() => this.throttle.request()), // also when a document's language changes
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
    const { snapshot } = this.store;
    const shown = present(snapshot, suggestions, activeLanguage(snapshot.settings));
    const key = JSON.stringify(shown);
    if (key !== this.drawn) {
      this.drawn = key;
      const tooltip = new vscode.MarkdownString(shown.tooltip);
      tooltip.isTrusted = { enabledCommands: LINKS };
      this.item.text = shown.text;
      this.item.tooltip = tooltip;
      this.item.accessibilityInformation = { label: shown.label, role: 'button' };
      this.item.backgroundColor = shown.error ? new vscode.ThemeColor('statusBarItem.errorBackground') : undefined;
      this.item.command = REMEDIES[shown.state] ?? COMMANDS.menu;
    }
    this.setVisible();
  }

  /** Hidden while idle. Shown where suggestions are off, so that the user can switch them on. */
  private setVisible(): void {
    const { settings, phase } = this.store.snapshot;
    const isOff = activeLanguage(settings)?.isOn === false || (!settings.enabled && isNeeded(settings));
    if (settings.statusBar && (phase !== 'idle' || isOff)) {
      this.item.show();
    } else {
      this.item.hide();
    }
  }
}
