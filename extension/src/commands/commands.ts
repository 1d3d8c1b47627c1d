/** The commands: each a function of the parts that activate() made. */
import * as vscode from 'vscode';

import type { Supervisor } from '../client/supervisor';
import type { SetUp } from '../environment/setup';
import { COMMANDS, VIEW_THRESHOLD } from '../ids';
import { t } from '../l10n';
import { messageOf, type Channels } from '../log';
import { COMMAND_ACCEPTED } from '../protocol';
import { deleteHistory, exportHistory } from '../report/history';
import type { ReportPanel } from '../report/panel';
import { writeSetting } from '../settings';
import type { Store } from '../state/store';
import { showMenu } from '../status/menu';
import { pickThreshold } from '../threshold/quickPick';
import type { Calibration } from '../threshold/calibration';
import { tick } from '../walkthrough';
import type { Documents } from './documents';
import { renderLayers } from './layers';
import { redact, thisUser } from './redact';
import { why } from './why';

export interface Parts {
  readonly channels: Channels;
  readonly store: Store;
  readonly supervisor: Supervisor;
  readonly setUp: SetUp;
  readonly report: ReportPanel;
  readonly documents: Documents;
  readonly calibration: () => Promise<Calibration>;
}

type Command = (...args: readonly unknown[]) => unknown;

export function commandTable(parts: Parts): Readonly<Record<string, Command>> {
  const { channels, store, supervisor, setUp, documents, calibration } = parts;
  return {
    [COMMANDS.setThreshold]: () => vscode.commands.executeCommand(`${VIEW_THRESHOLD}.focus`),
    [COMMANDS.setThresholdQuickPick]: async () => pickThreshold(await calibration(), store.snapshot.settings),
    [COMMANDS.toggle]: () => writeSetting('enabled', !store.snapshot.settings.enabled),
    [COMMANDS.energyReport]: () => showReport(parts),
    [COMMANDS.exportHistory]: () => exportHistory((args) => supervisor.runDaemon(args)),
    [COMMANDS.deleteHistory]: () => forgetHistory(parts),
    [COMMANDS.whyNoSuggestion]: () => why(parts),
    [COMMANDS.showLayers]: async () => documents.show(t('Layers.txt'), renderLayers((await supervisor.explain()).last)),
    [COMMANDS.restartEngine]: () => supervisor.restartEngine(),
    [COMMANDS.showLog]: () => channels.show(),
    [COMMANDS.setUp]: () => setUp.start(),
    [COMMANDS.diagnose]: () => diagnose(parts),
    [COMMANDS.menu]: () => showMenu(store.snapshot.settings),
    [COMMAND_ACCEPTED]: (id) => {
      if (typeof id === 'string') {
        supervisor.accepted(id);
        tick('complete');
      }
    },
  };
}

/** Registers the table. What a command throws is told to the user, not left to a generic dialog. */
export function registerCommands(parts: Parts): vscode.Disposable[] {
  return Object.entries(commandTable(parts)).map(([id, command]) =>
    vscode.commands.registerCommand(id, async (...args: unknown[]) => {
      try {
        await command(...args);
      } catch (error) {
        parts.channels.extension.error(`${id}: ${messageOf(error)}`);
        const chosen = await vscode.window.showErrorMessage(`Green Code: ${messageOf(error)}`, t('Show Log'));
        if (chosen) {
          parts.channels.show();
        }
      }
    }),
  );
}

/** What doctor says, in the daemon's English, without the user's name: people put it into reports for others to read. */
async function diagnose({ supervisor, documents, store }: Parts): Promise<void> {
  const options = { location: vscode.ProgressLocation.Notification, title: t('Diagnosing Green Code'), cancellable: true };
  const { model } = store.snapshot.settings;
  const controller = new AbortController();
  const { stdout, stderr } = await vscode.window.withProgress(options, (_, token) => {
    token.onCancellationRequested(() => controller.abort());
    return supervisor.runDaemon(['doctor', `--model=${model}`], controller.signal);
  });
  if (controller.signal.aborted) {
    return;
  }
  const text = redact(stdout || stderr, thisUser());
  await documents.show(t('Diagnosis.txt'), text);
  const chosen = await vscode.window.showInformationMessage(t('The diagnosis is open, without user name and home folder.'), t('Copy'));
  if (chosen !== undefined) {
    await vscode.env.clipboard.writeText(text);
  }
}

async function showReport({ supervisor, report, store }: Parts): Promise<void> {
  report.show(await supervisor.report(), store.snapshot.settings.gridIntensity);
  tick('report');
}

async function forgetHistory(parts: Parts): Promise<void> {
  if (await deleteHistory((args) => parts.supervisor.runDaemon(args))) {
    parts.store.update({ energy: null, today: null });
    if (parts.report.visible && parts.supervisor.isRunning) {
      await showReport(parts);
    }
  }
}
