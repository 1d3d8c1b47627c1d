/** Entry point: creates the parts and connects them. It makes no decisions. */
import path from 'node:path';

import * as vscode from 'vscode';

import { showStartFailure } from './client/messages';
import { Supervisor } from './client/supervisor';
import { registerCommands, type Parts } from './commands/commands';
import { Documents } from './commands/documents';
import { Contexts } from './contexts';
import { bundlesFolder } from './environment/bundles';
import { Daemon } from './environment/daemon';
import { Endpoint } from './endpoint/endpoint';
import { addExtras } from './environment/extras';
import { SetUp } from './environment/setup';
import { Hints } from './hints/hints';
import { VIEW_THRESHOLD } from './ids';
import { Channels } from './log';
import { chooseFirst } from './models/first';
import { ReportPanel } from './report/panel';
import { onSettingsChange, readSettings } from './settings';
import { Store } from './state/store';
import { StatusItem } from './status/item';
import { Snooze } from './status/snooze';
import { readCalibration } from './threshold/calibration';
import { ThresholdView } from './threshold/view';
import { markThresholdDone, restoreDone } from './walkthrough';

let close: (() => Promise<unknown>) | undefined;

export function activate(context: vscode.ExtensionContext): void {
  const { extensionPath, extensionUri } = context;
  const { version } = context.extension.packageJSON as { version: string };
  const channels = new Channels();
  const store = new Store(readSettings());
  const calibration = () => readCalibration(bundlesFolder(extensionPath), store.snapshot.settings.model);
  const home = { storage: context.globalStorageUri.fsPath, version, bundled: path.join(extensionPath, 'bundled') };
  const daemon = new Daemon(home, extensionPath, () => store.snapshot.settings.pythonPath);
  const supervisor: Supervisor = new Supervisor(daemon, channels, store, (environment) => {
    setUp.offer(environment).catch(channels.showFailure);
  });
  const add: Parts['addExtras'] = (extras, signal, progress) => addExtras(home, daemon, extras, { signal, progress, log: (line) => channels.extension.info(line) });
  const setUp = new SetUp(home, channels, store, supervisor, () => chooseFirst({ daemon, channels, store, addExtras: add }));
  const snooze = new Snooze(store, () => void supervisor.requests.sendSettings().catch(channels.showFailure));
  const hints = new Hints(store, context.globalState, channels.showFailure);
  const endpoint = new Endpoint(store, supervisor.requests, context.globalState, context.secrets, channels.showFailure);
  const report = new ReportPanel(extensionUri);
  const documents = new Documents();
  const view = new ThresholdView(extensionUri, store, calibration);
  close = () => {
    supervisor.dispose(); // first: an aborted Set Up would start the front again
    return Promise.all([supervisor.stop(), setUp.abort()]);
  };
  const start = () => {
    supervisor.startWhenNeeded().catch((error: unknown) => showStartFailure(channels, error));
  };

  context.subscriptions.push(
    restoreDone(context.globalState),
    channels,
    supervisor,
    report,
    documents,
    view,
    snooze,
    hints,
    endpoint,
    new Contexts(store),
    new StatusItem(store, calibration),
    vscode.window.registerWebviewViewProvider(VIEW_THRESHOLD, view),
    ...registerCommands({ channels, store, daemon, supervisor, requests: supervisor.requests, setUp, snooze, hints, endpoint, report, documents, calibration, addExtras: add }),
    onSettingsChange((settings) => {
      const before = store.snapshot.settings;
      store.update({ settings });
      endpoint.use(settings);
      markThresholdDone(before, settings);
      supervisor.settingsChanged(before, settings).catch(channels.showFailure);
    }),
    vscode.workspace.onDidOpenTextDocument(start), // also fires when a document's language changes
  );
  endpoint.use(store.snapshot.settings);
  start();
}

export async function deactivate(): Promise<void> {
  await close?.();
}
