import os from 'node:os';

import type * as vscode from 'vscode';
import { beforeEach, describe, expect, it, vi } from 'vitest';

import type { ClientOptions } from '../../src/client/client';
import { Supervisor } from '../../src/client/supervisor';
import type { Channels } from '../../src/log';
import { LSP_REPORT } from '../../src/protocol';
import type { Settings } from '../../src/settings';
import { Store } from '../../src/state/store';
import { defaults } from './samples';
import { configuration } from './vscode';

/** A front that starts when it is let, and remembers what it was sent. */
class Front {
  static readonly all: Front[] = [];
  static readonly newest = () => Front.all.at(-1)!;
  readonly sent: { method: string; params: unknown }[] = [];
  started: () => void = () => undefined;
  private running = false;

  constructor(readonly options: ClientOptions) {
    Front.all.push(this);
  }

  start(): Promise<void> {
    return new Promise((resolve) => {
      this.started = () => {
        this.running = true;
        resolve();
      };
    });
  }

  isRunning(): boolean {
    return this.running;
  }

  sendNotification(method: string, params: unknown): Promise<void> {
    this.sent.push({ method, params });
    return Promise.resolve();
  }

  sendRequest(method: string, params: unknown): Promise<unknown> {
    this.sent.push({ method, params });
    return Promise.reject(new Error('not scripted'));
  }

  dispose(): Promise<void> {
    this.running = false;
    return Promise.resolve();
  }
}

vi.mock('../../src/client/client', () => ({ createClient: (options: ClientOptions) => new Front(options) }));
vi.mock('../../src/environment/resolve', () => ({ resolve: () => Promise.resolve({ kind: 'ready', python: 'python', origin: 'setting' }) }));

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const channels = { extension: quiet, server: quiet, report: () => undefined, forgetShown: () => undefined } as unknown as Channels;
const context = { globalStorageUri: { fsPath: os.tmpdir() }, extensionPath: '/extension' } as unknown as vscode.ExtensionContext;

function make(settings: Partial<Settings> = {}) {
  const store = new Store({ ...defaults, ...settings });
  const supervisor = new Supervisor(context, '0.1.0', channels, store, () => undefined);
  /** As activate() does it when a setting changes. */
  const change = (settings: Partial<Settings>) => {
    const before = store.snapshot.settings;
    Object.entries(settings).forEach(([key, value]) => configuration.user.set(key, value));
    store.update({ settings: { ...before, ...settings } });
    return supervisor.settingsChanged(before, store.snapshot.settings);
  };
  return { store, supervisor, change };
}

const fronts = (count: number) => vi.waitFor(() => expect(Front.all).toHaveLength(count));

beforeEach(() => {
  Front.all.length = 0;
  configuration.reset();
});

describe('settings that change while the front starts', () => {
  it('make another front where they must, and nobody waits for himself', async () => {
    const { store, supervisor, change } = make();
    const starting = supervisor.restart();
    await fronts(1);
    const changing = change({ languages: ['go'] });
    Front.newest().started();
    await starting;
    await fronts(2);
    Front.newest().started();
    await changing;
    expect(Front.newest().options.settings.languages).toEqual(['go']);
    expect(store.snapshot.phase).toBe('running');
  });

  it('reach it once it runs, as the user wrote them', async () => {
    const { supervisor, change } = make();
    const starting = supervisor.restart();
    await fronts(1);
    await change({ threshold: '0.9' as unknown as number });
    Front.newest().started();
    await starting;
    const [first] = Front.newest().sent;
    expect(first?.method).toBe('workspace/didChangeConfiguration');
    expect(first?.params).toMatchObject({ settings: { greenCode: { threshold: '0.9' } } });
  });
});

describe('what earlier windows saved', () => {
  it.each([true, false])('is asked for at the start where completions are on: %s', async (enabled) => {
    const { supervisor } = make({ enabled });
    const starting = supervisor.restart();
    await fronts(1);
    Front.newest().started();
    await starting;
    expect(Front.newest().sent.some(({ method }) => method === LSP_REPORT)).toBe(enabled);
  });
});
