/** Requests and notifications to the front of this window. */
import type { LanguageClient } from 'vscode-languageclient/node';

import { messageOf, type Channels } from '../log';
import * as protocol from '../protocol';
import { SECTION, settingsForFront } from '../settings';
import type { Store } from '../state/store';
import { noAnswer, whyNotRunning } from './messages';
import { TimedOut, withTimeout } from './timeout';

/** Longer than a slow front needs: it may import from a cold disk, or end an engine and wait 30 s for another. */
export const ANSWER_TIMEOUT_MS = 60_000;

export class Requests {
  constructor(
    private readonly client: () => LanguageClient | undefined,
    private readonly store: Store,
    private readonly channels: Channels,
  ) {}

  get isConnected(): boolean {
    return this.client()?.isRunning() ?? false;
  }

  explain(): Promise<protocol.Explanation> {
    return this.send(protocol.LSP_EXPLAIN);
  }

  report(): Promise<protocol.Report> {
    return this.send(protocol.LSP_REPORT);
  }

  async restartEngine(): Promise<void> {
    await this.send(protocol.LSP_RESTART_ENGINE);
  }

  /** Deletes what the gate has learned on this machine. */
  async resetGate(): Promise<void> {
    await this.send(protocol.LSP_RESET_GATE);
  }

  /** `characters`: how many were inserted. */
  accepted(id: string, characters: number): void {
    this.notify(protocol.LSP_ACCEPTED, { id, characters });
  }

  /** The user rejected the visible suggestion. */
  dismissed(): void {
    this.notify(protocol.LSP_DISMISSED, {});
  }

  /** The API key of a server; empty: none. */
  apiKey(endpoint: string, apiKey: string): void {
    this.notify(protocol.LSP_API_KEY, { endpoint, api_key: apiKey });
  }

  /** Settings that change while no front runs are part of its start. */
  async sendSettings(): Promise<void> {
    if (this.isConnected) {
      await this.client()?.sendNotification('workspace/didChangeConfiguration', { settings: { [SECTION]: settingsForFront(this.store.snapshot) } });
    }
  }

  private notify(method: string, params: object): void {
    this.client()
      ?.sendNotification(method, params)
      .catch((error: unknown) => this.channels.extension.warn(messageOf(error)));
  }

  /** Rejects with `TimedOut` where the front hangs, and with the reason where none runs. */
  private async send<T>(method: string): Promise<T> {
    const client = this.client();
    if (!client?.isRunning()) {
      throw new Error(whyNotRunning(this.store.snapshot));
    }
    return withTimeout(ANSWER_TIMEOUT_MS, client.sendRequest<T>(method, {}), new TimedOut(noAnswer()));
  }
}
