/**
 * What a new user is told once: the keys, and a question about the editor's own list. At most one message after an accepted
 * suggestion, because that is when it is of use. None is modal, and none comes again, whatever the user does with it.
 */
import * as vscode from 'vscode';

import { t } from '../l10n';
import { isSupported, keyboardShortcuts } from '../settings';
import type { Snapshot, Store } from '../state/store';
import { isListHidden, showList } from './editorList';

/** Keys of the extension's memory in the editor. */
const ASKED_LIST = 'askedAboutList';
const TOLD_KEYS = 'toldKeys';
/** Somebody who accepts none of so many suggestions may miss the list. */
const SHOWN_BEFORE_QUESTION = 10;

export class Hints implements vscode.Disposable {
  private readonly listener: { dispose(): void };

  constructor(
    private readonly store: Store,
    private readonly memory: vscode.Memento,
    private readonly showFailure: (error: unknown) => void,
  ) {
    this.listener = store.onChange((snapshot) => this.shown(snapshot));
  }

  dispose(): void {
    this.listener.dispose();
  }

  /** A suggestion was accepted. */
  accepted(): void {
    if (!this.askAboutList()) {
      this.tellKeys();
    }
  }

  private shown({ energy }: Snapshot): void {
    if (energy !== null && energy.session.shown >= SHOWN_BEFORE_QUESTION) {
      this.askAboutList();
    }
  }

  /** Asks in a file with suggestions, because there alone the list waits for ours. Returns whether it asks. */
  private askAboutList(): boolean {
    const document = vscode.window.activeTextEditor?.document;
    if (document === undefined || this.memory.get(ASKED_LIST) !== undefined || !isSupported(this.store.snapshot.settings, document) || !isListHidden(document.languageId)) {
      return false;
    }
    const { languageId: language } = document;
    const both = t('hints.both');
    this.remember(ASKED_LIST);
    this.show(t('hints.listQuestion'), [both, t('hints.onlyOurs')], async (chosen) => {
      if (chosen === both) {
        await showList(language);
      }
    });
    return true;
  }

  private tellKeys(): void {
    if (this.memory.get(TOLD_KEYS) === undefined) {
      const shortcuts = keyboardShortcuts();
      this.remember(TOLD_KEYS);
      this.show(t('hints.keys'), [shortcuts.title], async (chosen) => {
        if (chosen !== undefined) {
          await vscode.commands.executeCommand(shortcuts.command, ...shortcuts.args);
        }
      });
    }
  }

  /** Before the message is shown: a window that closes must not make it come again. */
  private remember(key: string): void {
    void this.memory.update(key, true);
  }

  private show(text: string, buttons: readonly string[], answered: (chosen: string | undefined) => Promise<void>): void {
    vscode.window.showInformationMessage(text, ...buttons).then(answered).then(undefined, this.showFailure);
  }
}
