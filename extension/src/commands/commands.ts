/** The commands: each is a function of the parts that activate() created. */
import * as vscode from 'vscode';

import type { Requests } from '../client/requests';
import type { Supervisor } from '../client/supervisor';
import type { Daemon } from '../environment/daemon';
import type { SetUp } from '../environment/setup';
import { COMMANDS, VIEW_THRESHOLD } from '../ids';
import { t } from '../l10n';
import { failure, messageOf, type Channels } from '../log';
import { COMMAND_ACCEPTED } from '../protocol';
import { deleteHistory, exportHistory } from '../report/history';
import type { ReportPanel } from '../report/panel';
import { writeSetting } from '../settings';
import type { Store } from '../state/store';
import { showMenu } from '../status/menu';
import type { Calibration } from '../threshold/calibration';
import { pickThreshold } from '../threshold/quickPick';
import { markDone } from '../walkthrough';
import type { Documents } from './documents';
import { renderLayers } from './layers';
import { redact, thisUser } from './redact';
import { whyNoSuggestion } from './why';

export interface Parts {
  readonly channels: Channels;
  readonly store: Store;
  readonly daemon: Daemon;
  readonly supervisor: Supervisor;
  readonly requests: Requests;
  readonly setUp: SetUp;
  readonly report: ReportPanel;
  readonly documents: Documents;
  readonly calibration: () => Promise<Calibration>;
}

type Command = (...args: readonly unknown[]) => unknown;

export function commandTable(parts: Parts): Readonly<Record<string, Command>> {
  const { channels, store, daemon, supervisor, requests, setUp, documents, calibration } = parts;
  return {
    [COMMANDS.setThreshold]: () => vscode.commands.executeCommand(`${VIEW_THRESHOLD}.focus`),
    [COMMANDS.setThresholdQuickPick]: async () => pickThreshold(await calibration(), store.snapshot.settings),
    [COMMANDS.toggle]: () => writeSetting('enabled', !store.snapshot.settings.enabled),
    [COMMANDS.energyReport]: () => showReport(parts),
    [COMMANDS.exportHistory]: () => exportHistory(daemon),
    [COMMANDS.deleteHistory]: () => deleteHistoryAndFigures(parts),
    [COMMANDS.whyNoSuggestion]: () => whyNoSuggestion(parts),
    [COMMANDS.showLayers]: async () => documents.show(t('layers.fileName'), renderLayers((await requests.explain()).last)),
    [COMMANDS.resetGate]: () => resetGate(requests),
    [COMMANDS.restartEngine]: () => supervisor.restartEngine(),
    [COMMANDS.showLog]: () => channels.show(),
    [COMMANDS.setUp]: () => setUp.start(),
    [COMMANDS.diagnose]: () => diagnose(parts),
    [COMMANDS.menu]: () => showMenu(store.snapshot.settings),
    [COMMAND_ACCEPTED]: (id, characters) => {
      if (typeof id === 'string' && typeof characters === 'number') {
        requests.accepted(id, characters);
        markDone('complete');
      }
    },
  };
}

/** Registers the table. An error of a command is shown by us, not by the editor's generic dialog. */
export function registerCommands(parts: Parts): vscode.Disposable[] {
  return Object.entries(commandTable(parts)).map(([id, command]) =>
    vscode.commands.registerCommand(id, async (...args: unknown[]) => {
      try {
        await command(...args);
      } catch (error) {
        parts.channels.extension.error(`${id}: ${messageOf(error)}`);
        const chosen = await vscode.window.showErrorMessage(failure(error), t('common.showLog'));
        if (chosen) {
          parts.channels.show();
        }
      }
    }),
  );
}

async function resetGate(requests: Requests): Promise<void> {
  await requests.resetGate();
  void vscode.window.showInformationMessage(t('commands.gateReset'));
}

/** Shows doctor's output, in the daemon's English and without the user's name: people attach it to public reports. */
async function diagnose({ daemon, documents, store }: Parts): Promise<void> {
  const options = { location: vscode.ProgressLocation.Notification, title: t('diagnose.title'), cancellable: true };
  const { model } = store.snapshot.settings;
  const controller = new AbortController();
  const { stdout, stderr } = await vscode.window.withProgress(options, (_, token) => {
    token.onCancellationRequested(() => controller.abort());
    return daemon.run(['doctor', `--model=${model}`], controller.signal);
  });
  if (controller.signal.aborted) {
    return;
  }
  const text = redact(stdout || stderr, thisUser());
  await documents.show(t('diagnose.fileName'), text);
  const chosen = await vscode.window.showInformationMessage(t('diagnose.done'), t('diagnose.copy'));
  if (chosen !== undefined) {
    await vscode.env.clipboard.writeText(text);
  }
}

async function showReport({ requests, report, store, calibration }: Parts): Promise<void> {
  const { suggestions } = await calibration();
  report.show(await requests.report(), store.snapshot.settings.gridIntensity, suggestions);
  markDone('report');
}

async function deleteHistoryAndFigures(parts: Parts): Promise<void> {
  if (await deleteHistory(parts.daemon)) {
    parts.store.update({ energy: null, today: null });
    if (parts.report.visible && parts.requests.isConnected) {
      await showReport(parts);
    }
  }
}
