/** Entry point: makes the parts and connects them. Nothing is decided here. */
import path from 'node:path';

import * as vscode from 'vscode';

import { Supervisor } from './client/supervisor';
import { registerCommands } from './commands/commands';
import { Documents } from './commands/documents';
import { bundlesFolder } from './environment/bundles';
import { SetUp } from './environment/setup';
import { COMMANDS, VIEW_THRESHOLD } from './ids';
import { t } from './l10n';
import { Channels, messageOf } from './log';
import { ReportPanel } from './report/panel';
import { onSettingsChange, readSettings } from './settings';
import { Store } from './state/store';
import { StatusItem } from './status/item';
import { readCalibration } from './threshold/calibration';
import { ThresholdView } from './threshold/view';
import { tickThreshold } from './walkthrough';

let close: (() => Promise<unknown>) | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const { version } = context.extension.packageJSON as { version: string };
  const channels = new Channels();
  const store = new Store(readSettings());
  const calibration = () => readCalibration(bundlesFolder(context.extensionPath), store.snapshot.settings.model);
  const home = { storage: context.globalStorageUri.fsPath, version, bundled: path.join(context.extensionPath, 'bundled') };
  const front: Supervisor = new Supervisor(home, context.extensionPath, channels, store, (environment) => {
    setUp.offer(environment).catch((error: unknown) => channels.report(`Green Code: ${messageOf(error)}`));
  });
  const setUp = new SetUp(home, channels, store, front);
  const report = new ReportPanel(context.extensionUri);
  const documents = new Documents();
  const view = new ThresholdView(context.extensionUri, store, calibration);
  close = () => {
    front.dispose(); // first: an aborted Set Up starts the front anew
    return Promise.all([front.stop(), setUp.abort()]);
  };
  const start = () => {
    front.startWhenNeeded().catch((error: unknown) => {
      channels.report(t('Green Code could not start: {cause}', { cause: messageOf(error) }), [{ title: t('Restart'), command: COMMANDS.restartEngine }]);
    });
  };

  context.subscriptions.push(
    channels,
    front,
    report,
    documents,
    view,
    new StatusItem(store),
    vscode.window.registerWebviewViewProvider(VIEW_THRESHOLD, view),
    ...registerCommands({ channels, store, supervisor: front, setUp, report, documents, calibration }),
    onSettingsChange((settings) => {
      const before = store.snapshot.settings;
      store.update({ settings });
      tickThreshold(before, settings);
      front.settingsChanged(before, settings).catch((error: unknown) => channels.report(`Green Code: ${messageOf(error)}`));
    }),
    vscode.workspace.onDidOpenTextDocument(start), // also where a document's language changes
  );
  start();
}

export async function deactivate(): Promise<void> {
  await close?.();
}
