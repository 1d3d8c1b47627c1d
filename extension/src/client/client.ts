/** One language client for one life of the front. Imported only when a front starts: it is most of the bundle. */
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  RevealOutputChannelOn,
  TransportKind,
  type LanguageClientOptions,
} from 'vscode-languageclient/node';

import type { LogOutputChannel } from 'vscode';

import { messageOf } from '../log';
import { LSP_ENERGY, LSP_STATUS, type EnergyMessage, type StatusMessage } from '../protocol';
import { SCHEMES, settingsForFront, type Settings } from '../settings';

export interface ClientOptions {
  readonly python: string;
  /** Where the front runs: never the workspace, since Python imports from its working folder. */
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly settings: Settings;
  readonly channel: LogOutputChannel;
  readonly onStatus: (status: StatusMessage) => void;
  readonly onEnergy: (energy: EnergyMessage) => void;
  readonly onClosed: () => void;
}

/**
 * The supervisor says what failed, once it is out of patience. The library has a pop-up of its own for each start that fails, and
 * a client that never ran refuses to stop, where there is nothing more to do for it.
 */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  override stop(timeoutMs?: number): Promise<void> {
    return super.stop(timeoutMs).catch((error: unknown) => this.info(`stop: ${messageOf(error)}`));
  }
}

export function createClient(options: ClientOptions): LanguageClient {
  const clientOptions: LanguageClientOptions = {
    documentSelector: options.settings.languages.flatMap((language) => SCHEMES.map((scheme) => ({ scheme, language }))),
    initializationOptions: { settings: settingsForFront() },
    outputChannel: options.channel,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    // The supervisor restarts, with back-off; the client's own restarts come at once and end in a pop-up.
    errorHandler: {
      error: () => ({ action: ErrorAction.Continue, handled: true }),
      closed: () => {
        options.onClosed();
        return { action: CloseAction.DoNotRestart, handled: true };
      },
    },
    initializationFailedHandler: () => false,
  };
  const client = new QuietClient(
    'greenCode',
    'Green Code',
    { command: options.python, args: ['-m', 'green_code', 'lsp'], transport: TransportKind.stdio, options: { cwd: options.cwd, env: options.env } },
    clientOptions,
  );
  client.onNotification(LSP_STATUS, options.onStatus);
  client.onNotification(LSP_ENERGY, options.onEnergy);
  return client;
}
