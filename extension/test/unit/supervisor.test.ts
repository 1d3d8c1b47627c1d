import os from 'node:os';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { ClientOptions } from '../../src/client/client';
import { Supervisor } from '../../src/client/supervisor';
import { Daemon } from '../../src/environment/daemon';
import type { Resolution } from '../../src/environment/resolve';
import { CONTEXTS } from '../../src/ids';
import { t } from '../../src/l10n';
import { Channels } from '../../src/log';
import { LSP_REPORT } from '../../src/protocol';
import type { Settings } from '../../src/settings';
import { Store, type Phase } from '../../src/state/store';
import { defaults } from './samples';
import { commands, configuration, window, workspace } from './vscode';

/** A front that starts when `started` is called, and records what it receives. */
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
const environment = vi.hoisted(() => ({ resolve: vi.fn<() => Promise<Resolution>>(), run: vi.fn(() => Promise.resolve({ code: 0, stdout: '', stderr: '' })) }));
vi.mock('../../src/environment/resolve', () => ({ resolve: environment.resolve }));
vi.mock('../../src/environment/processes', () => ({ run: environment.run }));

const configured: Resolution = { kind: 'ready', python: 'python', origin: 'setting' };
const managed: Resolution = { kind: 'ready', python: 'python', origin: 'managed', folder: '/no/such/environment' };
const missing: Resolution = { kind: 'missing', name: 'venv-1-aa' };
const wrong: Resolution = { kind: 'wrong', message: 'It cannot be started.' };

const home = { storage: os.tmpdir(), version: '0.1.0', bundled: '/extension/bundled' };
const open = (languageId: string, scheme = 'file') => workspace.textDocuments.push({ uri: { scheme }, languageId });

function make(settings: Partial<Settings> = {}) {
  const store = new Store({ ...defaults, ...settings });
  const offered = vi.fn();
  const daemon = new Daemon(home, '/extension', () => store.snapshot.settings.pythonPath);
  const supervisor = new Supervisor(daemon, new Channels(), store, offered);
  /** As activate() does when a setting changes. */
  const change = (settings: Partial<Settings>) => {
    const before = store.snapshot.settings;
    Object.entries(settings).forEach(([key, value]) => configuration.user.set(key, value));
    store.update({ settings: { ...before, ...settings } });
    return supervisor.settingsChanged(before, store.snapshot.settings);
  };
  return { store, supervisor, requests: supervisor.requests, change, offered };
}

/** The same, with a front that has started. */
async function running(settings: Partial<Settings> = {}) {
  const made = make(settings);
  const starting = made.supervisor.restart();
  await fronts(1);
  Front.newest().started();
  await starting;
  return made;
}

const fronts = (count: number) => vi.waitFor(() => expect(Front.all).toHaveLength(count));

beforeEach(() => {
  Front.all.length = 0;
  environment.resolve.mockReset().mockResolvedValue(configured);
  environment.run.mockClear();
  configuration.reset();
  workspace.textDocuments.length = 0;
});

afterEach(() => void vi.restoreAllMocks());

describe('the front', () => {
  it('starts once, with the first supported document', async () => {
    const { store, supervisor } = make({ languages: ['dart'] });
    open('python');
    open('dart', 'output');
    await supervisor.startWhenNeeded();
    expect(store.snapshot.phase).toBe('idle');
    open('dart');
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
    open('dart');
    await change({ pythonPath: '/opt/python' });
    expect(Front.all).toHaveLength(0);
    void change({ languages: ['dart'] });
    await fronts(1);
  });

  it('does not start while suggestions are off, and starts when they are switched on', async () => {
    const { store, supervisor, change } = make({ enabled: false });
    open('python');
    await supervisor.startWhenNeeded();
    expect([store.snapshot.phase, environment.resolve.mock.calls.length]).toEqual(['idle', 0]);
    void change({ enabled: true });
    await fronts(1);
  });

  it('is missing, and Set Up is offered again when suggestions are switched on', async () => {
    environment.resolve.mockResolvedValue(missing);
    const { supervisor, change, offered } = make({ enabled: false });
    await supervisor.restart();
    await change({ threshold: 0.6 });
    expect(offered).toHaveBeenCalledTimes(1);
    await change({ enabled: true });
    expect(offered.mock.calls).toEqual([['venv-1-aa'], ['venv-1-aa']]);
  });

  it('completes the first step of the walkthrough once it runs', async () => {
    const done = vi.spyOn(commands, 'executeCommand');
    const { supervisor } = make();
    const starting = supervisor.restart();
    await fronts(1);
    expect(done).not.toHaveBeenCalled();
    Front.newest().started();
    await starting;
    expect(done.mock.calls).toEqual([['setContext', CONTEXTS.setUp, true]]);
  });

  it.each<[Phase, Partial<Settings>, string]>([
    ['idle', {}, t('engine.notRunningYet')],
    ['idle', { enabled: false }, t('why.disabled')],
    ['setUp', {}, t('setUp.notSetUp')],
    ['settingUp', {}, t('engine.setUpStillRuns')],
    ['starting', {}, t('engine.starting')],
    ['failed', {}, t('engine.notRunning')],
  ])('that does not run has a reason: %s %j', async (phase, settings, reason) => {
    const { store, requests } = make(settings);
    store.update({ phase });
    await expect(requests.explain()).rejects.toThrow(new Error(reason));
  });
});

describe('while Set Up runs', () => {
  it.each<[string, Resolution]>([
    ['starts', configured],
    ['is missing', missing],
    ['is wrong', wrong],
  ])('the phase stays, whatever happens to the front: it %s', async (_, resolution) => {
    environment.resolve.mockResolvedValue(resolution);
    const { store, supervisor } = make();
    store.update({ phase: 'settingUp' });
    const starting = supervisor.restart();
    if (resolution === configured) {
      await fronts(1);
      Front.newest().started();
    }
    await starting;
    expect(store.snapshot).toMatchObject({ phase: 'settingUp', detail: '' });
    Front.all.at(-1)?.options.onClosed();
    expect(store.snapshot.phase).toBe('settingUp');
    supervisor.dispose();
  });
});

describe('a retry that fails as before', () => {
  it('is shown again', async () => {
    environment.resolve.mockResolvedValue(wrong);
    const shown = vi.spyOn(window, 'showErrorMessage');
    const { supervisor } = make();
    await supervisor.restart();
    await supervisor.restartEngine();
    expect(shown.mock.calls.map(([text]) => text)).toEqual(['It cannot be started.', 'It cannot be started.']);
  });

  it('names Set Up where it has not been run', async () => {
    environment.resolve.mockResolvedValue(missing);
    const { supervisor } = make();
    await expect(supervisor.restartEngine()).rejects.toThrow(t('setUp.notSetUp'));
  });
});

describe('another pythonPath', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const seconds = (count: number) => vi.advanceTimersByTimeAsync(count * 1000);

  it('is tried when typing has ended, and the running front continues until it has answered', async () => {
    const { change } = await running();
    const first = Front.newest();
    for (const pythonPath of ['/o', '/opt', '/opt/python']) {
      await change({ pythonPath });
      await seconds(2);
    }
    expect(environment.resolve).toHaveBeenCalledTimes(1);
    let answer: (resolution: Resolution) => void = () => undefined;
    environment.resolve.mockReturnValue(new Promise((resolve) => (answer = resolve)));
    await seconds(2);
    await vi.waitFor(() => expect(environment.resolve).toHaveBeenCalledTimes(2));
    expect(first.ended).toBe(false);
    answer(configured);
    await fronts(2);
    expect(first.ended).toBe(true);
  });

  it('is not tried twice if a restart came first', async () => {
    const { supervisor, change } = await running();
    await change({ pythonPath: '/opt/python' });
    const restarting = supervisor.restart();
    await fronts(2);
    Front.newest().started();
    await restarting;
    await vi.waitFor(() => expect(vi.getTimerCount()).toBe(0), { timeout: 500 });
  });

  it('that is wrong ends the running front, and a button opens the setting', async () => {
    vi.spyOn(window, 'showErrorMessage').mockResolvedValue('Open Setting');
    const { store, change } = await running();
    const done = vi.spyOn(commands, 'executeCommand');
    environment.resolve.mockResolvedValue(wrong);
    await change({ pythonPath: '/opt/pyton' });
    await seconds(3);
    await vi.waitFor(() => expect(store.snapshot).toMatchObject({ phase: 'failed', detail: 'It cannot be started.' }));
    expect(Front.newest().ended).toBe(true);
    expect(done.mock.calls).toEqual([['workbench.action.openSettings', '@id:greenCode.pythonPath']]);
  });
});

describe('before the managed environment is replaced', () => {
  it.each([
    ['managed', true],
    ['setting', false],
  ])('front and engine that run from it are ended: %s', async (origin, ends) => {
    environment.resolve.mockResolvedValue(origin === 'managed' ? managed : configured);
    const { supervisor } = await running();
    await supervisor.release();
    expect(Front.newest().ended).toBe(ends);
    const stops = environment.run.mock.calls as unknown as [string, string[]][];
    expect(stops.map(([, args]) => args)).toEqual(ends ? [['-m', 'green_code', 'engine', '--stop']] : []);
  });
});

describe('settings that change while the front starts', () => {
  it('start another front where needed, without a deadlock', async () => {
    const { store, supervisor, change } = make();
    const starting = supervisor.restart();
    await fronts(1);
    const changing = change({ languages: ['dart'] });
    Front.newest().started();
    await starting;
    await fronts(2);
    Front.newest().started();
    await changing;
    expect(Front.newest().options.snapshot.settings.languages).toEqual(['dart']);
    expect(store.snapshot.phase).toBe('running');
  });

  it('are sent once it runs, as the user wrote them', async () => {
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

describe('the totals of today', () => {
  it.each([true, false])('are read at the start only if suggestions are on: %s', async (enabled) => {
    const { supervisor } = make({ enabled });
    const starting = supervisor.restart();
    await fronts(1);
    Front.newest().started();
    await starting;
    expect(Front.newest().sent.some(({ method }) => method === LSP_REPORT)).toBe(enabled);
  });
});

describe('a front that crashes', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it.each([
    ['managed', managed, ['Restart', 'Set Up Again', 'Show Log']],
    ['configured', configured, ['Restart', 'Show Log']],
  ])('is restarted with back-off, then an error has buttons for what may help: %s', async (_, resolution, buttons) => {
    environment.resolve.mockResolvedValue(resolution);
    const shown = vi.spyOn(window, 'showErrorMessage');
    const { store } = await running();
    for (let count = 1; count <= 6; count += 1) {
      Front.newest().options.onClosed();
      Front.newest().options.onClosed(); // the same crash, reported twice
      expect(store.snapshot.phase).toBe('starting');
      await vi.advanceTimersByTimeAsync(500 * 2 ** (count - 1));
      await fronts(count + 1);
      Front.newest().started();
      await vi.waitFor(() => expect(store.snapshot.phase).toBe('running'));
    }
    expect(shown).not.toHaveBeenCalled();
    Front.newest().options.onClosed();
    const message = t('engine.failsRepeatedly', { cause: t('engine.endedUnexpectedly') });
    expect(store.snapshot).toMatchObject({ phase: 'failed', detail: message });
    expect(shown.mock.calls).toEqual([[`Green Code: ${message}`, ...buttons]]);
  });
});

describe('a front that hangs', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());
  const minutes = (count: number) => vi.advanceTimersByTimeAsync(count * 60_000);

  it('is replaced if it does not answer its start', async () => {
    const { supervisor } = make();
    const starting = supervisor.restart();
    await fronts(1);
    await minutes(1);
    await starting;
    await fronts(2);
    expect(Front.all[0]!.ended).toBe(true);
  });

  it('is replaced by Restart Engine, and requests report that it does not answer', async () => {
    const { store, supervisor, requests } = make();
    const starting = supervisor.restart();
    await fronts(1);
    const first = Front.newest();
    first.started();
    await starting;
    first.hangs = true;
    const [answer] = await Promise.all([requests.explain().catch(String), minutes(1)]);
    expect(answer).toContain(t('engine.noAnswer'));
    const restarting = supervisor.restartEngine();
    await minutes(1);
    await fronts(2);
    Front.newest().started();
    await restarting;
    expect([first.ended, Front.all.length, store.snapshot.phase]).toEqual([true, 2, 'running']);
  });
});
