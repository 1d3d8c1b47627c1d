import { expect, it, vi } from 'vitest';

import { createClient, type ClientOptions } from '../../src/client/client';
import { snapshot } from './samples';

interface Handlers {
  readonly errorHandler: { readonly closed: () => { readonly action: number; readonly handled: boolean } };
  readonly initializationFailedHandler: () => boolean;
}

const library = vi.hoisted(() => ({ popUps: new Array<string>(), logged: new Array<string>(), handlers: new Array<Handlers>() }));

/** As in the library: an error shows a pop-up unless disabled, and a client that never ran rejects when stopped. */
vi.mock('vscode-languageclient/node', () => ({
  LanguageClient: class {
    constructor(_id: string, _name: string, _server: unknown, options: Handlers) {
      library.handlers.push(options);
    }
    error(message: string, _data?: unknown, showNotification: boolean | 'force' = true): void {
      (showNotification === false ? library.logged : library.popUps).push(message);
    }
    info(message: string): void {
      library.logged.push(message);
    }
    stop(): Promise<void> {
      return Promise.reject(new Error('Client is not running'));
    }
    onNotification(): void {
      // no notification arrives
    }
  },
  CloseAction: { DoNotRestart: 1 },
  ErrorAction: { Continue: 1 },
  RevealOutputChannelOn: { Never: 4 },
  TransportKind: { stdio: 0 },
}));

it('a front that does not start is logged, without a pop-up or a restart by the library', async () => {
  const closed = vi.fn();
  const client = createClient({ snapshot: snapshot(), onClosed: closed } as unknown as ClientOptions);
  client.error('Server initialization failed.');
  await client.stop();
  expect(library.popUps).toEqual([]);
  expect(library.logged).toEqual(['Server initialization failed.', 'stop: Client is not running']);
  const { errorHandler, initializationFailedHandler } = library.handlers[0]!;
  expect(errorHandler.closed()).toEqual({ action: 1, handled: true });
  expect(closed).toHaveBeenCalledOnce();
  expect(initializationFailedHandler()).toBe(false);
});
