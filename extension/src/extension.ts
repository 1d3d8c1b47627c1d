/** Entry point: makes the parts and connects them. Nothing is decided here. */
import * as vscode from 'vscode';

import { Supervisor } from './client/supervisor';
import { registerCommands } from './commands/commands';
import { Documents } from './commands/documents';
import { bundlesFolder } from './environment/bundles';
import { SetUp } from './environment/setup';
import { COMMANDS, VIEW_THRESHOLD } from './ids';
import { Channels, messageOf } from './log';
import { ReportPanel } from './report/panel';
import { onSettingsChange, readSettings } from './settings';
import { Store } from './state/store';
import { StatusItem } from './status/item';
import { readStops } from './threshold/stops';
import { ThresholdView } from './threshold/view';

let supervisor: Supervisor | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const { version } = context.extension.packageJSON as { version: string };
  const channels = new Channels();
  const store = new Store(readSettings());
  const stops = () => readStops(bundlesFolder(context.extensionPath), store.snapshot.settings.model);
  const setUp = new SetUp(context, version, channels, store);
  const front = new Supervisor(context, version, channels, store, () => void offerSetUp(setUp, front));
  const report = new ReportPanel(context.extensionUri);
  const documents = new Documents();
  const view = new ThresholdView(context.extensionUri, store, stops);
  supervisor = front;

  context.subscriptions.push(
    channels,
    front,
    report,
    documents,
    view,
    new StatusItem(store),
    vscode.window.registerWebviewViewProvider(VIEW_THRESHOLD, view),
    ...registerCommands({ channels, store, supervisor: front, setUp, report, documents, stops }),
    onSettingsChange((settings) => {
      const before = store.snapshot.settings;
      store.update({ settings });
      front.settingsChanged(before, settings).catch((error: unknown) => channels.report(`Green Code: ${messageOf(error)}`));
    }),
  );

  // Not awaited: the editor waits for activate(), and the status item already says that we are starting.
  front.restart().catch((error: unknown) => {
    store.update({ phase: 'failed', detail: messageOf(error) });
    channels.report(`Green Code could not start: ${messageOf(error)}`, { title: 'Restart', command: COMMANDS.restartEngine });
  });
}

export async function deactivate(): Promise<void> {
  await supervisor?.stop();
}

async function offerSetUp(setUp: SetUp, front: Supervisor): Promise<void> {
  if (await setUp.offer()) {
    await front.restart();
  }
}
