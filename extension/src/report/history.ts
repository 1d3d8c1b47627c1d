/** Export and deletion of the energy history. The daemon does both. */
import os from 'node:os';
import path from 'node:path';

import * as vscode from 'vscode';

import type { Daemon } from '../environment/daemon';
import { t } from '../l10n';

/** Asks for a file, and writes a row per completion. The file's extension sets the format. */
export async function exportHistory(daemon: Daemon): Promise<void> {
  const target = await vscode.window.showSaveDialog({
    title: t('history.export'),
    defaultUri: vscode.Uri.file(path.join(os.homedir(), 'green-code-energy.csv')),
    filters: { CSV: ['csv'], JSON: ['json'] },
  });
  if (target === undefined) {
    return;
  }
  const result = await runEnergy(daemon, ['export', target.fsPath]);
  const chosen = await vscode.window.showInformationMessage(`Green Code: ${result}`, t('history.open')); // the daemon's sentence, in English
  if (chosen !== undefined) {
    await vscode.commands.executeCommand('vscode.open', target);
  }
}

/** Asks first. Returns whether the history was deleted. */
export async function deleteHistory(daemon: Daemon): Promise<boolean> {
  const detail = t('history.deleteWarning');
  const chosen = await vscode.window.showWarningMessage(t('history.deleteQuestion'), { modal: true, detail }, t('history.delete'));
  if (chosen === undefined) {
    return false;
  }
  await runEnergy(daemon, ['delete', '--yes']);
  return true;
}

async function runEnergy(daemon: Daemon, args: readonly string[]): Promise<string> {
  const { code, stdout, stderr } = await daemon.run(['energy', ...args]);
  if (code !== 0) {
    throw new Error(stderr.trim() || stdout.trim() || t('history.failed'));
  }
  return stdout.trim();
}
