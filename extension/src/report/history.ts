/** What the user can do with the energy history: take it along, and delete it. The daemon does either. */
import os from 'node:os';
import path from 'node:path';

import * as vscode from 'vscode';

import type { RunResult } from '../environment/processes';
import { t } from '../l10n';

/** Runs a command of the daemon's to its end. */
type RunDaemon = (args: readonly string[]) => Promise<RunResult>;

/** Asks where to, and writes a row for each completion; the name's end says which form. */
export async function exportHistory(run: RunDaemon): Promise<void> {
  const target = await vscode.window.showSaveDialog({
    title: t('Export Energy History'),
    defaultUri: vscode.Uri.file(path.join(os.homedir(), 'green-code-energy.csv')),
    filters: { CSV: ['csv'], JSON: ['json'] },
  });
  if (target === undefined) {
    return;
  }
  const written = done(await run(['energy', 'export', target.fsPath]));
  const chosen = await vscode.window.showInformationMessage(`Green Code: ${written}`, t('Open')); // the daemon's sentence, in English
  if (chosen !== undefined) {
    await vscode.commands.executeCommand('vscode.open', target);
  }
}

/** Asks first; true where the history was deleted. */
export async function deleteHistory(run: RunDaemon): Promise<boolean> {
  const detail = t('All figures about energy and completions on this machine are deleted. This cannot be undone.');
  const chosen = await vscode.window.showWarningMessage(t('Delete the energy history?'), { modal: true, detail }, t('Delete'));
  if (chosen === undefined) {
    return false;
  }
  done(await run(['energy', 'delete', '--yes']));
  return true;
}

function done({ code, stdout, stderr }: RunResult): string {
  if (code !== 0) {
    throw new Error(stderr.trim() || stdout.trim() || t('The daemon could not be started.'));
  }
  return stdout.trim();
}
