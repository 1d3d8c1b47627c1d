/**
 * The choice of the first model, as a part of Set Up: the machine is measured, and the user chooses between the light and the standard
 * model, with sizes and speeds in sight. Nothing is downloaded before.
 */
import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import { messageOf } from '../log';
import { writeSetting } from '../settings';
import { get, models, type Parts } from './choose';
import { choices, whyNone, type Models } from './list';

type FirstParts = Omit<Parts, 'supervisor'>;

/**
 * Asks where the model that the settings name is not on this machine, gets the chosen one, and writes the setting. Where the user does not
 * choose, cancels, or nothing can be downloaded, there is no model: the status item says so and leads to Choose Model. Never rejects.
 */
export async function chooseFirst(parts: FirstParts): Promise<void> {
  if (parts.store.snapshot.endpoint !== '') {
    return; // a server that the user has allowed has the model
  }
  try {
    const found = await measured(parts);
    const current = found.models.find(({ name }) => name === parts.store.snapshot.settings.model);
    if (current !== undefined && current.state !== 'ready' && current.state !== 'downloaded') {
      await ask(parts, found);
    }
  } catch (error) {
    parts.channels.extension.error(messageOf(error));
    // Not awaited: a message that Esc hides is never answered.
    offerList(messageOf(error)).catch(parts.channels.showFailure);
  }
}

function measured({ daemon }: FirstParts): Promise<Models> {
  const options = { location: vscode.ProgressLocation.Notification, title: t('setUp.title') };
  return Promise.resolve(
    vscode.window.withProgress(options, (progress) => {
      progress.report({ message: t('models.measuring') });
      return models(daemon);
    }),
  );
}

async function ask(parts: FirstParts, found: Models): Promise<void> {
  const offered = choices(found);
  if (offered.length === 0) {
    throw new Error(whyNone(found));
  }
  const options = { title: t('models.firstTitle'), placeHolder: t('models.firstPlaceholder'), ignoreFocusOut: true };
  const chosen = await vscode.window.showQuickPick(offered, options);
  if (chosen !== undefined && (await get(parts, chosen.model.name, chosen.model.needs))) {
    await writeSetting('model', chosen.model.name);
  }
}

async function offerList(problem: string): Promise<void> {
  const list = t('models.title');
  if ((await vscode.window.showErrorMessage(t('models.notGot', { problem }), list)) === list) {
    await vscode.commands.executeCommand(COMMANDS.chooseModel);
  }
}
