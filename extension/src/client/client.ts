/** The language client of one run of the front. Imported only when a front starts: it is most of the bundle. */
import {
  CloseAction,
  ErrorAction,
  LanguageClient,
  RevealOutputChannelOn,
  TransportKind,
  type LanguageClientOptions,
} from 'vscode-languageclient/node';

import type { LogOutputChannel } from 'vscode';

import { withoutApiKey } from '../endpoint/address';
import { messageOf } from '../log';
import { LSP_ENERGY, LSP_STATUS, type EnergyMessage, type StatusMessage } from '../protocol';
import { SCHEMES, SECTION, settingsForFront } from '../settings';
import type { Snapshot } from '../state/store';

export interface ClientOptions {
  readonly python: string;
  /** Working folder of the front: never the workspace, because Python imports from its working folder. */
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  readonly snapshot: Snapshot;
  readonly channel: LogOutputChannel;
  readonly onStatus: (status: StatusMessage) => void;
  readonly onEnergy: (energy: EnergyMessage) => void;
  readonly onClosed: () => void;
}

/**
 * The supervisor reports failures once it gives up. The library would show a pop-up for each failed start, and rejects when a
 * client that never ran is stopped.
 */
class QuietClient extends LanguageClient {
  override error(message: string, data?: unknown): void {
    super.error(message, data, false);
  }

  /** For a trace of the protocol, which repeats what is sent. */
  override get traceOutputChannel(): LogOutputChannel {
    const channel = super.traceOutputChannel;
    return new Proxy(channel, {
      get: (target, key) => (key === 'trace' ? (line: string) => target.trace(withoutApiKey(line)) : (Reflect.get(target, key) as unknown)),
    });
  }

  override stop(timeoutMs?: number): Promise<void> {
    return super.stop(timeoutMs).catch((error: unknown) => this.info(`stop: ${messageOf(error)}`));
  }
}

export function createClient(options: ClientOptions): LanguageClient {
  const clientOptions: LanguageClientOptions = {
    documentSelector: options.snapshot.settings.languages.flatMap((language) => SCHEMES.map((scheme) => ({ scheme, language }))),
    initializationOptions: { settings: settingsForFront(options.snapshot) },
    outputChannel: options.channel,
    revealOutputChannelOn: RevealOutputChannelOn.Never,
    // The supervisor restarts with back-off; the client would restart at once and end in a pop-up.
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
    SECTION,
    'Green Code',
    { command: options.python, args: ['-m', 'green_code', 'lsp'], transport: TransportKind.stdio, options: { cwd: options.cwd, env: options.env } },
    clientOptions,
  );
  client.onNotification(LSP_STATUS, options.onStatus);
  client.onNotification(LSP_ENERGY, options.onEnergy);
  return client;
}
