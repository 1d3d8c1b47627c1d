import os from 'node:os';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { ClientOptions } from '../../src/client/client';
import { Supervisor } from '../../src/client/supervisor';
import type { Channels } from '../../src/log';
import { LSP_REPORT } from '../../src/protocol';
import type { Settings } from '../../src/settings';
import { Store } from '../../src/state/store';
import { defaults } from './samples';
import { configuration, workspace } from './vscode';

/** A front that starts when it is let, and remembers what it was sent. */
class Front {
  static readonly all: Front[] = [];
  static readonly newest = () => Front.all.at(-1)!;
  readonly sent: { method: string; params: unknown }[] = [];
  started: () => void = () => undefined;
  ended = false;
  hangs = false;
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
    return this.hangs ? new Promise(() => undefined) : Promise.reject(new Error('not scripted'));
  }

  dispose(): Promise<void> {
    this.ended = true;
    this.running = false;
    return Promise.resolve();
  }
}

vi.mock('../../src/client/client', () => ({ createClient: (options: ClientOptions) => new Front(options) }));
const environment = vi.hoisted(() => ({ origin: 'setting', run: vi.fn(() => Promise.resolve({ code: 0, stdout: '', stderr: '' })) }));
vi.mock('../../src/environment/resolve', () => ({ resolve: () => Promise.resolve({ kind: 'ready', python: 'python', origin: environment.origin, environment: '/no/such/environment' }) }));
vi.mock('../../src/environment/processes', () => ({ run: environment.run }));

const quiet = { info: () => undefined, warn: () => undefined, error: () => undefined };
const channels = { extension: quiet, server: quiet, report: () => undefined, forgetShown: () => undefined } as unknown as Channels;
const home = { storage: os.tmpdir(), version: '0.1.0', bundled: '/extension/bundled' };
const open = (languageId: string, scheme = 'file') => workspace.textDocuments.push({ uri: { scheme }, languageId });

function make(settings: Partial<Settings> = {}) {
  const store = new Store({ ...defaults, ...settings });
  const supervisor = new Supervisor(home, '/extension', channels, store, () => undefined);
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
  environment.origin = 'setting';
  environment.run.mockClear();
  configuration.reset();
  workspace.textDocuments.length = 0;
});

describe('the front', () => {
  it('starts once, with the first document of a chosen language', async () => {
    const { store, supervisor } = make({ languages: ['go'] });
    open('python');
    open('go', 'output');
    await supervisor.startWhenNeeded();
    expect(store.snapshot.phase).toBe('idle');
    open('go');
    void supervisor.startWhenNeeded();
    expect(store.snapshot.phase).toBe('starting');
    await fronts(1);
    Front.newest().started();
    await vi.waitFor(() => expect(store.snapshot.phase).toBe('running'));
    await supervisor.startWhenNeeded();
    expect(Front.all).toHaveLength(1);
  });

  it('starts when the language of an open document is chosen, and for no other setting', async () => {
    const { change } = make();
    open('go');
    await change({ pythonPath: '/opt/python' });
    expect(Front.all).toHaveLength(0);
    void change({ languages: ['go'] });
    await fronts(1);
  });
});

describe('before the managed environment is replaced', () => {
  it.each([
    ['managed', true],
    ['setting', false],
  ])('what runs from it ends, the engine too: %s', async (origin, ends) => {
    environment.origin = origin;
    const { supervisor } = make();
    const starting = supervisor.restart();
    await fronts(1);
    Front.newest().started();
    await starting;
    await supervisor.release();
    expect(Front.newest().ended).toBe(ends);
    const stops = environment.run.mock.calls as unknown as [string, string[]][];
    expect(stops.map(([, args]) => args)).toEqual(ends ? [['-m', 'green_code', 'engine', '--stop']] : []);
  });
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

describe('a front that hangs', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const minutes = (count: number) => vi.advanceTimersByTimeAsync(count * 60_000);

  it('gives way to another one when it never answers its start', async () => {
    const { supervisor } = make();
    const starting = supervisor.restart();
    await fronts(1);
    await minutes(1);
    await starting;
    await fronts(2);
    expect(Front.all[0]!.ended).toBe(true);
  });

  it('gives way to another one at Restart Engine, and is said not to answer', async () => {
    const { store, supervisor } = make();
    const starting = supervisor.restart();
    await fronts(1);
    const first = Front.newest();
    first.started();
    await starting;
    first.hangs = true;
    const [asked] = await Promise.all([supervisor.explain().catch(String), minutes(1)]);
    expect(asked).toContain('does not answer');
    const restarting = supervisor.restartEngine();
    await minutes(1);
    await fronts(2);
    Front.newest().started();
    await restarting;
    expect([first.ended, Front.all.length, store.snapshot.phase]).toEqual([true, 2, 'running']);
  });
});
