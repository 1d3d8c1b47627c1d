/** The commands: each is a function of the parts that activate() created. */
import * as vscode from 'vscode';

import type { Requests } from '../client/requests';
import type { Supervisor } from '../client/supervisor';
import type { Endpoint } from '../endpoint/endpoint';
import { notSetUp, type Daemon } from '../environment/daemon';
import type { SetUp } from '../environment/setup';
import type { Hints } from '../hints/hints';
import { COMMANDS, VIEW_THRESHOLD } from '../ids';
import { t } from '../l10n';
import { failure, messageOf, type Channels } from '../log';
import { chooseModel, type Parts as ModelParts } from '../models/choose';
import { COMMAND_ACCEPTED } from '../protocol';
import { deleteHistory, exportHistory } from '../report/history';
import type { ReportPanel } from '../report/panel';
import { writeSetting, type Settings } from '../settings';
import type { Store } from '../state/store';
import { activeLanguage, toggleLanguage } from '../status/languages';
import { showMenu } from '../status/menu';
import { pickSnooze, type Snooze } from '../status/snooze';
import { otherMode } from '../status/switches';
import type { Calibration } from '../threshold/calibration';
import { modeTitle } from '../threshold/modes';
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
  readonly snooze: Snooze;
  readonly hints: Hints;
  readonly endpoint: Endpoint;
  readonly report: ReportPanel;
  readonly documents: Documents;
  readonly calibration: () => Promise<Calibration>;
  readonly addExtras: ModelParts['addExtras'];
}

type Command = (...args: readonly unknown[]) => unknown;

export function commandTable(parts: Parts): Readonly<Record<string, Command>> {
  const { channels, store, daemon, supervisor, requests, setUp, snooze, hints, endpoint, documents, calibration } = parts;
  return {
    [COMMANDS.setThreshold]: () => vscode.commands.executeCommand(`${VIEW_THRESHOLD}.focus`),
    [COMMANDS.setThresholdQuickPick]: async () => pickThreshold(await calibration(), store.snapshot.settings),
    [COMMANDS.toggle]: () => toggle(parts),
    [COMMANDS.toggleLanguage]: (id) => toggleLanguage(store.snapshot.settings, typeof id === 'string' ? id : undefined),
    [COMMANDS.snooze]: () => startSnooze(snooze),
    [COMMANDS.resume]: () => snooze.resume(),
    [COMMANDS.chooseModel]: () => chooseModel(parts),
    [COMMANDS.switchMode]: () => switchMode(store.snapshot.settings),
    [COMMANDS.dismiss]: () => dismiss(requests),
    [COMMANDS.energyReport]: () => showReport(parts),
    [COMMANDS.exportHistory]: () => exportHistory(daemon),
    [COMMANDS.deleteHistory]: () => deleteHistoryAndFigures(parts),
    [COMMANDS.whyNoSuggestion]: () => whyNoSuggestion(parts),
    [COMMANDS.showLayers]: async () => documents.show(t('layers.fileName'), renderLayers((await requests.explain()).last)),
    [COMMANDS.resetGate]: () => resetGate(requests),
    [COMMANDS.setApiKey]: () => endpoint.setApiKey(),
    [COMMANDS.restartEngine]: () => supervisor.restartEngine(),
    [COMMANDS.showLog]: () => channels.show(),
    [COMMANDS.setUp]: () => setUp.start(),
    [COMMANDS.diagnose]: () => diagnose(parts),
    [COMMANDS.menu]: () => showMenu(store.snapshot, activeLanguage(store.snapshot.settings)),
    [COMMAND_ACCEPTED]: (id, characters) => {
      if (typeof id === 'string' && typeof characters === 'number') {
        requests.accepted(id, characters);
        markDone('complete');
        hints.accepted();
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
        await showFailure(parts, error);
      }
    }),
  );
}

/** With the button that helps. */
export async function showFailure({ channels }: Pick<Parts, 'channels'>, error: unknown): Promise<void> {
  const [setUp, showLog] = [t('setUp.setUp'), t('common.showLog')];
  const isMissing = messageOf(error) === notSetUp();
  const chosen = await vscode.window.showErrorMessage(failure(error), isMissing ? setUp : showLog);
  if (chosen === setUp) {
    await vscode.commands.executeCommand(COMMANDS.setUp);
  } else if (chosen === showLog) {
    channels.show();
  }
}

/** Switches what the user sees: to switch on also ends a snooze, and the setting stays as it is where that is enough. */
async function toggle({ store, snooze }: Parts): Promise<void> {
  const { settings, snooze: minutes } = store.snapshot;
  if (minutes !== null) {
    snooze.resume();
  }
  if (minutes === null || !settings.enabled) {
    await writeSetting('enabled', !settings.enabled);
  }
}

async function startSnooze(snooze: Snooze): Promise<void> {
  const minutes = await pickSnooze();
  if (minutes !== undefined) {
    snooze.start(minutes);
  }
}

async function switchMode({ decoding }: Settings): Promise<void> {
  const mode = otherMode(decoding);
  await writeSetting('decoding', mode);
  vscode.window.setStatusBarMessage(`Green Code: ${modeTitle(mode)}`, 4000);
}

/** What Escape does on a visible suggestion. The front hears of it, so that the same text does not come again at once. */
async function dismiss(requests: Requests): Promise<void> {
  requests.dismissed();
  await vscode.commands.executeCommand('editor.action.inlineSuggest.hide');
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
