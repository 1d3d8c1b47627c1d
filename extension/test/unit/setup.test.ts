import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { InstallOptions } from '../../src/environment/install';
import { managedFolder, pythonIn } from '../../src/environment/resolve';
import { SetUp } from '../../src/environment/setup';
import type { Channels } from '../../src/log';
import { Store, type Phase } from '../../src/state/store';
import { defaults } from './samples';
import { configuration, window } from './vscode';

const { Cancelled, InstallError } = await vi.importActual<typeof import('../../src/environment/install')>('../../src/environment/install');
const installed = vi.hoisted(() => vi.fn<(options: InstallOptions) => Promise<void>>());
vi.mock('../../src/environment/install', async (original) => ({ ...(await original<object>()), install: installed }));

const channels = { extension: { info: () => undefined, error: () => undefined } } as unknown as Channels;
let storage = '';

const home = () => ({ storage, version: '0.1.0', bundled: path.join(storage, 'bundled') });

/** What an earlier Set Up has left. */
async function makeEnvironment() {
  const wheel = path.join(home().bundled, 'green_code-0.1.0-py3-none-any.whl');
  fs.mkdirSync(home().bundled);
  fs.writeFileSync(wheel, 'wheel');
  const python = pythonIn(await managedFolder(home(), wheel));
  fs.mkdirSync(path.dirname(python), { recursive: true });
  fs.writeFileSync(python, '');
}

function make() {
  const store = new Store(defaults);
  const restart = () => {
    store.update({ phase: 'running' });
    return Promise.resolve();
  };
  const front = { release: vi.fn(() => Promise.resolve()), restart: vi.fn(restart) };
  return { store, front, setUp: new SetUp(home(), channels, store, front) };
}

beforeEach(() => {
  storage = fs.mkdtempSync(path.join(os.tmpdir(), 'green-code-setup-'));
  configuration.reset();
  installed.mockReset();
  vi.restoreAllMocks();
  vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Set Up');
});

afterEach(() => fs.rmSync(storage, { recursive: true }));

describe('Set Up', () => {
  it('stops pip when the window closes, and waits until its files are gone', async () => {
    let cleaned = false;
    installed.mockImplementation(async ({ signal }) => {
      await new Promise((aborted) => signal.addEventListener('abort', aborted));
      await new Promise((next) => setTimeout(next, 10));
      cleaned = true;
      throw new Cancelled('Cancelled.');
    });
    const { setUp } = make();
    void setUp.start();
    await vi.waitFor(() => expect(installed).toHaveBeenCalled());
    await setUp.abort();
    expect(cleaned).toBe(true);
  });

  it('leaves a front that runs, also after it had to be stopped and the new environment failed', async () => {
    installed.mockImplementation(async ({ release }) => {
      await release();
      throw new InstallError('no space');
    });
    const told = vi.spyOn(window, 'showErrorMessage');
    const { setUp, front, store } = make();
    await setUp.start();
    expect(front.release.mock.invocationCallOrder[0]).toBeLessThan(front.restart.mock.invocationCallOrder[0]!);
    expect(store.snapshot.phase).toBe('running');
    expect(told.mock.calls[0]?.[0]).toContain('no space');
  });

  it('is brought up to date without asking where another version was set up, until it is done or cancelled', async () => {
    fs.mkdirSync(path.join(storage, 'venv-0-aa'));
    fs.mkdirSync(path.join(storage, 'venv-1-bb.partial-1')); // an attempt is no environment
    const asked = vi.spyOn(window, 'showInformationMessage');
    const titles = vi.spyOn(window, 'withProgress');
    installed.mockResolvedValue();
    const { setUp, front } = make();
    installed.mockRejectedValueOnce(new InstallError('offline'));
    await setUp.offer('venv-1-bb'); // which fails
    await setUp.offer('venv-1-bb'); // and is tried again at the next start
    installed.mockRejectedValueOnce(new Cancelled('Cancelled.'));
    await setUp.offer('venv-1-bb');
    await setUp.offer('venv-1-bb'); // but not after it was cancelled
    expect(installed).toHaveBeenCalledTimes(3);
    expect(titles.mock.calls[0]?.[0]).toMatchObject({ title: 'Updating Green Code' });
    expect(front.restart).toHaveBeenCalledTimes(3);
    expect(asked).not.toHaveBeenCalled();
  });

  it('is neither offered nor brought up to date while suggestions are switched off', async () => {
    const asked = vi.spyOn(window, 'showInformationMessage');
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, enabled: false } });
    await setUp.offer('venv-1-bb');
    fs.mkdirSync(path.join(storage, 'venv-0-aa'));
    await setUp.offer('venv-1-bb');
    expect(asked).not.toHaveBeenCalled();
    expect(installed).not.toHaveBeenCalled();
    store.update({ settings: defaults });
    await setUp.offer('venv-1-bb');
    expect(installed).toHaveBeenCalledTimes(1);
  });

  it('is what the window says while it runs, and nothing of before; then the front has its say', async () => {
    const { setUp, store, front } = make();
    const status = { state: 'error', message: 'the model is damaged', progress: null, reason: 'model_damaged' } as const;
    store.update({ phase: 'failed', detail: 'it keeps failing', status });
    const said: unknown[] = [];
    const note = () => Promise.resolve(void said.push(store.snapshot));
    installed.mockImplementation(note);
    front.restart.mockImplementation(note);
    await setUp.start();
    expect(said).toMatchObject([{ phase: 'settingUp', detail: '', status: null }, { phase: 'starting' }]);
  });

  it('is offered once for each environment', async () => {
    const asked = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    const { setUp } = make();
    for (const environment of ['venv-1-aa', 'venv-1-aa', 'venv-1-bb']) {
      await setUp.offer(environment);
    }
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it('is offered on another machine, too', async () => {
    const asked = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    await make().setUp.offer('venv-1-aa');
    fs.rmSync(storage, { recursive: true });
    storage = fs.mkdtempSync(path.join(os.tmpdir(), 'green-code-setup-'));
    await make().setUp.offer('venv-1-aa');
    expect(asked).toHaveBeenCalledTimes(2);
  });

  it.each([
    ['Clear and Set Up', 1],
    [undefined, 0],
  ])('installs nothing that the setting of another interpreter would hide: %s', async (answer, installs) => {
    const asked = vi.spyOn(window, 'showWarningMessage').mockResolvedValue(answer);
    installed.mockResolvedValue();
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, pythonPath: '/opt/python' } });
    await setUp.start();
    expect(asked).toHaveBeenCalledTimes(1);
    expect(installed).toHaveBeenCalledTimes(installs);
    expect(configuration.updates.map(({ key, value }) => [key, value])).toEqual(installs === 1 ? [['pythonPath', '']] : []);
  });

  it.each([
    ['none before, so nobody was asked', ''],
    ['another one before, which he agreed to clear', '/opt/python'],
  ])('leaves the interpreter that the user names while it runs: %s', async (_, before) => {
    vi.spyOn(window, 'showWarningMessage').mockResolvedValue('Clear and Set Up');
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, pythonPath: before } });
    installed.mockImplementation(() => {
      store.update({ settings: { ...defaults, pythonPath: '/home/me/python' } });
      return Promise.resolve();
    });
    await setUp.start();
    expect(installed).toHaveBeenCalledTimes(1);
    expect(configuration.updates).toEqual([]);
  });

  it('goes back to the environment that is there, where the setting of another interpreter hid it', async () => {
    await makeEnvironment();
    vi.spyOn(window, 'showWarningMessage').mockResolvedValue('Clear and Set Up');
    const { setUp, store, front } = make();
    store.update({ settings: { ...defaults, pythonPath: '/opt/python' } });
    await setUp.start();
    expect(configuration.updates.map(({ key, value }) => [key, value])).toEqual([['pythonPath', '']]);
    expect(front.restart).toHaveBeenCalledTimes(1);
    expect(installed).not.toHaveBeenCalled();
  });

  it.each<[Phase, string, string]>([
    ['idle', 'Green Code is set up already. Set it up again?', 'Set Up Again'],
    ['running', 'Green Code is set up already. Set it up again?', 'Set Up Again'],
    ['failed', 'Set up Green Code?', 'Set Up'],
  ])('says that it is done already, unless the front fails: %s', async (phase, question, answer) => {
    await makeEnvironment();
    const asked = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    const { setUp, store } = make();
    store.update({ phase });
    await setUp.start();
    const [message, , button] = asked.mock.calls[0]!;
    expect([message, button]).toEqual([question, answer]);
    expect(installed).not.toHaveBeenCalled();
  });

  it('can be begun again where its message was neither answered nor closed', async () => {
    installed.mockRejectedValue(new InstallError('offline'));
    vi.spyOn(window, 'showErrorMessage').mockReturnValue(new Promise(() => undefined));
    const { setUp } = make();
    await setUp.start();
    await setUp.start();
    expect(installed).toHaveBeenCalledTimes(2);
  });

  it('tries again when asked to', async () => {
    installed.mockRejectedValueOnce(new InstallError('offline')).mockResolvedValue();
    vi.spyOn(window, 'showErrorMessage').mockResolvedValueOnce('Retry');
    vi.spyOn(window, 'showWarningMessage').mockResolvedValue('Clear and Set Up');
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, pythonPath: '/opt/python' } });
    await setUp.start();
    await vi.waitFor(() => expect(installed).toHaveBeenCalledTimes(2));
    await vi.waitFor(() => expect(configuration.updates).toMatchObject([{ key: 'pythonPath', value: '' }])); // as was agreed before
  });

  it('does not install what another window has set up meanwhile', async () => {
    await makeEnvironment();
    const { setUp, front, store } = make();
    store.update({ phase: 'setUp' });
    await setUp.start();
    expect(front.restart).toHaveBeenCalledTimes(1);
    expect(installed).not.toHaveBeenCalled();
  });
});
