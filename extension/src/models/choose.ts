/** Choose Model: a list with sizes and speeds, consent, a download that can be cancelled and goes on later, and removal. */
import * as vscode from 'vscode';

import type { Supervisor } from '../client/supervisor';
import { Cancelled } from '../environment/install';
import type { Daemon } from '../environment/daemon';
import { t } from '../l10n';
import type { Channels } from '../log';
import { writeSetting } from '../settings';
import { fileSize } from '../state/format';
import type { Store } from '../state/store';
import { consent, description, detail, eventOf, ordered, problemOf, progressText, type Model, type ModelFile, type Models } from './list';

export interface Parts {
  readonly daemon: Pick<Daemon, 'run'>;
  readonly channels: Channels;
  readonly store: Store;
  readonly supervisor: Pick<Supervisor, 'restartEngine'>;
  /** Installs extras of the package into the managed environment. */
  readonly addExtras: (extras: readonly string[], signal: AbortSignal, report: (message: string) => void) => Promise<void>;
}

type Entry = vscode.QuickPickItem & { readonly model?: Model; readonly file?: ModelFile; readonly browse?: true };

const removal = (): vscode.QuickInputButton => ({ iconPath: new vscode.ThemeIcon('trash'), tooltip: t('models.remove') });

/** Lets the user choose, gets what is missing, and writes the setting. */
export async function chooseModel(parts: Parts): Promise<void> {
  const chosen = await pick(parts);
  if (chosen === undefined) {
    return;
  }
  const path = chosen.browse === true ? await browse() : chosen.file?.path;
  const name = chosen.model?.name ?? path;
  if (name === undefined || !(await agrees(chosen))) {
    return;
  }
  if (chosen.model?.state === 'ready' || (await get(parts, name, chosen.model?.needs ?? []))) {
    const wasMissing = chosen.model?.state !== 'ready' && name === parts.store.snapshot.settings.model;
    await writeSetting('model', name);
    if (wasMissing) {
      await parts.supervisor.restartEngine(); // which would try again, but later
    }
  }
}

/** The list; a model's button removes it, and the list is shown again. */
async function pick(parts: Parts): Promise<Entry | undefined> {
  const list = vscode.window.createQuickPick<Entry>();
  Object.assign(list, { title: t('models.title'), placeholder: t('models.placeholder'), busy: true, ignoreFocusOut: true, matchOnDescription: true, matchOnDetail: true });
  list.show();
  const fill = async () => {
    const found = await models(parts.daemon);
    list.items = entries(found, parts.store.snapshot.settings.model);
    list.busy = false;
  };
  try {
    return await new Promise<Entry | undefined>((resolve, reject) => {
      list.onDidAccept(() => resolve(list.selectedItems[0]));
      list.onDidHide(() => resolve(undefined));
      list.onDidTriggerItemButton(({ item }) => {
        list.busy = true;
        remove(parts, item).then(fill).catch(reject);
      });
      fill().catch(reject);
    });
  } finally {
    list.dispose();
  }
}

/** Reads the list of the daemon. Throws where the daemon is missing or fails. */
export async function models(daemon: Pick<Daemon, 'run'>): Promise<Models> {
  const { code, stdout, stderr } = await daemon.run(['models', 'list', '--json']);
  if (code !== 0) {
    throw new Error(problemOf(stdout, stderr));
  }
  return JSON.parse(stdout) as Models;
}

export function entries({ models, files }: Models, current: string): readonly Entry[] {
  const rows = ordered(models).map((model) => ({
    model,
    label: `${model.name === current ? '$(check) ' : ''}${model.title}`,
    description: description(model),
    detail: detail(model),
    buttons: model.state === 'available' || model.name === current ? [] : [removal()],
  }));
  const others = files.map((file) => ({ file, label: file.name, description: `${file.tool} · ${fileSize(file.size)}`, detail: file.path }));
  return [
    ...rows,
    ...(others.length === 0 ? [] : [{ label: t('models.otherTools'), kind: vscode.QuickPickItemKind.Separator }]),
    ...others,
    { label: '', kind: vscode.QuickPickItemKind.Separator },
    { browse: true as const, label: `$(folder-opened) ${t('models.browse')}`, detail: t('models.browseDetail') },
  ];
}

async function browse(): Promise<string | undefined> {
  const options = { canSelectFiles: true, canSelectFolders: true, canSelectMany: false, title: t('models.browse'), filters: { GGUF: ['gguf'] } };
  return (await vscode.window.showOpenDialog(options))?.[0]?.fsPath;
}

/** Nothing is downloaded without consent; what is here needs none. */
async function agrees({ model }: Entry): Promise<boolean> {
  if (model === undefined || model.state === 'ready') {
    return true;
  }
  if (!model.fits) {
    void vscode.window.showWarningMessage(t('models.doesNotFit', { title: model.title, reason: model.reason }));
    return false;
  }
  const answer = model.state === 'partial' ? t('models.resume') : t('models.get');
  return (await vscode.window.showInformationMessage(t('models.question', { title: model.title }), { modal: true, detail: consent(model) }, answer)) === answer;
}

async function remove({ daemon }: Parts, { model }: Entry): Promise<void> {
  const question = t('models.removeQuestion', { title: model?.title ?? '' });
  if (model === undefined || (await vscode.window.showWarningMessage(question, { modal: true }, t('models.remove'))) === undefined) {
    return;
  }
  const { code, stdout, stderr } = await daemon.run(['models', 'remove', model.name, '--json']);
  if (code !== 0) {
    throw new Error(problemOf(stdout, stderr));
  }
}

/** Returns whether the model is ready; false if the user cancelled. What was downloaded stays, so that it can go on. */
export async function get({ daemon, channels, addExtras }: Pick<Parts, 'daemon' | 'channels' | 'addExtras'>, name: string, extras: readonly string[]): Promise<boolean> {
  const controller = new AbortController();
  const options = { location: vscode.ProgressLocation.Notification, title: t('models.getting'), cancellable: true };
  const result = await vscode.window.withProgress(options, async (progress, token) => {
    token.onCancellationRequested(() => controller.abort());
    const report = (message: string) => progress.report({ message });
    try {
      if (extras.length > 0) {
        await addExtras(extras, controller.signal, report);
      }
    } catch (error) {
      if (error instanceof Cancelled) {
        return null;
      }
      throw error;
    }
    const onLine = (line: string) => {
      const event = eventOf(line);
      if (event?.event === 'progress') {
        report(progressText(event));
      } else if (event === null) {
        channels.extension.info(line);
      }
    };
    return daemon.run(['models', 'get', name, '--json'], controller.signal, onLine);
  });
  if (result === null || controller.signal.aborted) {
    vscode.window.setStatusBarMessage(t('models.cancelled'), 6000);
    return false;
  }
  if (result.code !== 0) {
    throw new Error(problemOf(result.stdout, result.stderr));
  }
  return true;
}

