/**
 * The server of `greenCode.endpoint`, in the place of a local model. Nothing goes to its host before the user has agreed, once per
 * host on this machine; until then the local model answers. Its API key is in the editor's secret store, per host, and goes to the front alone.
 */
import * as vscode from 'vscode';

import type { Requests } from '../client/requests';
import { t } from '../l10n';
import { openSetting, type Settings } from '../settings';
import type { Store } from '../state/store';
import { hostOf, originOf } from './address';

const ALLOWED = 'allowedEndpoints';
const secretOf = (origin: string) => `apiKey ${origin}`;

export class Endpoint implements vscode.Disposable {
  private readonly listeners: readonly { dispose(): void }[];
  /** Hosts about which this window has asked; a message that is closed is not shown again. */
  private readonly asked = new Set<string>();
  /** Whether the front that runs has the API key. */
  private isSent = false;

  constructor(
    private readonly store: Store,
    private readonly requests: Requests,
    private readonly memory: vscode.Memento,
    private readonly secrets: vscode.SecretStorage,
    private readonly fail: (error: unknown) => void,
  ) {
    this.listeners = [
      store.onChange(({ phase, endpoint }) => {
        if (phase !== 'running') {
          this.isSent = false;
        } else if (endpoint !== '' && !this.isSent) {
          this.isSent = true;
          this.sendApiKey(false).catch(fail);
        }
      }),
      secrets.onDidChange(({ key }) => {
        if (key === secretOf(originOf(store.snapshot.endpoint) ?? '')) {
          this.sendApiKey(true).catch(fail);
        }
      }),
    ];
  }

  dispose(): void {
    this.listeners.forEach((listener) => listener.dispose());
  }

  /** Uses the server of the settings where the user has allowed its host, and asks otherwise. The front hears of it with the settings. */
  use({ endpoint }: Settings): void {
    const origin = originOf(endpoint);
    const isAllowed = origin !== null && this.allowed.includes(origin);
    this.isSent &&= endpoint === this.store.snapshot.endpoint;
    this.store.update({ endpoint: isAllowed ? endpoint : '' });
    if (origin !== null && !isAllowed && !this.asked.has(origin)) {
      this.asked.add(origin);
      this.ask(origin, endpoint).catch(this.fail);
    }
  }

  /** Asks for the API key of the server in the settings; an empty one is deleted. */
  async setApiKey(): Promise<void> {
    const { endpoint } = this.store.snapshot.settings;
    const origin = originOf(endpoint);
    if (origin === null) {
      const { title, command, args } = openSetting('endpoint');
      if ((await vscode.window.showErrorMessage(t('endpoint.none'), title)) === title) {
        await vscode.commands.executeCommand(command, ...args);
      }
      return;
    }
    const prompt = t('endpoint.keyPrompt', { host: hostOf(endpoint) });
    const apiKey = await vscode.window.showInputBox({ title: t('endpoint.keyTitle'), prompt, password: true, ignoreFocusOut: true });
    if (apiKey !== undefined) {
      await (apiKey.trim() === '' ? this.secrets.delete(secretOf(origin)) : this.secrets.store(secretOf(origin), apiKey.trim()));
    }
  }

  private get allowed(): readonly string[] {
    return this.memory.get<readonly string[]>(ALLOWED) ?? [];
  }

  private async ask(origin: string, endpoint: string): Promise<void> {
    const allow = t('endpoint.allow');
    const chosen = await vscode.window.showWarningMessage(t('consent.endpoint', { host: hostOf(endpoint) }), allow, t('endpoint.notNow'));
    if (chosen === allow) {
      await this.memory.update(ALLOWED, [...this.allowed, origin]);
      this.use(this.store.snapshot.settings);
      await this.requests.sendSettings();
    }
  }

  /** `isChanged`: an API key that was deleted is taken back. Without one at the start nothing is sent: another editor may have given its own. */
  private async sendApiKey(isChanged: boolean): Promise<void> {
    const { endpoint } = this.store.snapshot;
    const origin = originOf(endpoint);
    if (origin !== null) {
      const apiKey = await this.secrets.get(secretOf(origin));
      if (apiKey !== undefined || isChanged) {
        this.requests.apiKey(endpoint, apiKey ?? '');
      }
    }
  }
}
