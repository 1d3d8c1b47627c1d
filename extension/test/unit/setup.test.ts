import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import { Cancelled, InstallError, type InstallOptions } from '../../src/environment/install';
import { managedFolder, pythonIn } from '../../src/environment/resolve';
import { SetUp } from '../../src/environment/setup';
import { WALKTHROUGH } from '../../src/ids';
import { t } from '../../src/l10n';
import { Channels } from '../../src/log';
import type { State } from '../../src/protocol';
import { Store, type Phase } from '../../src/state/store';
import { wheelIn } from './results';
import { defaults } from './samples';
import { commands, configuration, window } from './vscode';

const installed = vi.hoisted(() => vi.fn<(options: InstallOptions) => Promise<void>>());
vi.mock('../../src/environment/install', async (original) => ({ ...(await original<object>()), install: installed }));

const channels = new Channels();
let storage = '';

const home = () => ({ storage, version: '0.1.0', bundled: path.join(storage, 'bundled') });

/** The result of an earlier Set Up. */
async function makeEnvironment() {
  const wheel = wheelIn(home());
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
  const chooseModel = vi.fn(() => Promise.resolve());
  return { store, front, chooseModel, setUp: new SetUp(home(), channels, store, front, chooseModel) };
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
  it('stops pip when the window closes, and waits until its files are removed', async () => {
    let cleaned = false;
    installed.mockImplementation(async ({ signal }) => {
      await new Promise((aborted) => signal.addEventListener('abort', aborted));
      await new Promise((next) => setTimeout(next, 10));
      cleaned = true;
      throw new Cancelled();
    });
    const { setUp } = make();
    void setUp.start();
    await vi.waitFor(() => expect(installed).toHaveBeenCalled());
    await setUp.abort();
    expect(cleaned).toBe(true);
  });

  it('leaves a running front, even after it was stopped and the new environment failed', async () => {
    installed.mockImplementation(async ({ release }) => {
      await release();
      throw new InstallError('no space');
    });
    const shown = vi.spyOn(window, 'showErrorMessage');
    const { setUp, front, store } = make();
    await setUp.start();
    expect(front.release.mock.invocationCallOrder[0]).toBeLessThan(front.restart.mock.invocationCallOrder[0]!);
    expect(store.snapshot.phase).toBe('running');
    expect(shown.mock.calls[0]?.[0]).toContain('no space');
  });

  it('goes on where its window was killed, and asks for the model then', async () => {
    fs.mkdirSync(path.join(storage, `venv-1-bb.partial-${2 ** 30}`)); // no process has this id
    const questions = vi.spyOn(window, 'showInformationMessage');
    installed.mockResolvedValue();
    const { setUp, chooseModel } = make();
    await setUp.offer('venv-1-bb');
    expect(installed).toHaveBeenCalledTimes(1);
    expect(chooseModel).toHaveBeenCalledTimes(1);
    expect(questions).not.toHaveBeenCalled();
  });

  it('updates without consent where another version was set up, until it succeeds or is cancelled', async () => {
    fs.mkdirSync(path.join(storage, 'venv-0-aa'));
    fs.mkdirSync(path.join(storage, 'venv-1-bb.partial-1')); // an attempt, not an environment
    const questions = vi.spyOn(window, 'showInformationMessage');
    const titles = vi.spyOn(window, 'withProgress');
    installed.mockResolvedValue();
    const { setUp, front, chooseModel } = make();
    installed.mockRejectedValueOnce(new InstallError('offline'));
    await setUp.offer('venv-1-bb'); // fails
    await setUp.offer('venv-1-bb'); // tries again at the next start
    installed.mockRejectedValueOnce(new Cancelled());
    await setUp.offer('venv-1-bb');
    await setUp.offer('venv-1-bb'); // does not try again after it was cancelled
    expect(installed).toHaveBeenCalledTimes(3);
    expect(titles.mock.calls[0]?.[0]).toMatchObject({ title: 'Updating Green Code' });
    expect(front.restart).toHaveBeenCalledTimes(3);
    expect(questions).not.toHaveBeenCalled();
    expect(chooseModel).not.toHaveBeenCalled(); // the model stays
  });

  it('asks for a model between the packages and the first start', async () => {
    installed.mockResolvedValue();
    const { setUp, front, chooseModel, store } = make();
    chooseModel.mockImplementation(() => {
      expect(store.snapshot.phase).toBe('settingUp');
      return Promise.resolve();
    });
    await setUp.start();
    const [packages, model, start] = [installed, chooseModel, front.restart].map(({ mock }) => mock.invocationCallOrder[0]!);
    expect(packages! < model! && model! < start!).toBe(true);
  });

  it('asks for no model where the packages could not be installed', async () => {
    installed.mockRejectedValue(new InstallError('offline'));
    const { setUp, chooseModel } = make();
    await setUp.start();
    expect(chooseModel).not.toHaveBeenCalled();
  });

  it('goes on, without a question, where the window of an earlier start was killed meanwhile', async () => {
    const { pid } = spawnSync(process.execPath, ['--version']);
    const partial = path.join(storage, `venv-1-bb.partial-${pid}`);
    fs.mkdirSync(partial);
    const questions = vi.spyOn(window, 'showInformationMessage');
    installed.mockImplementation(() => {
      fs.rmSync(partial, { recursive: true });
      return Promise.resolve();
    });
    const { setUp } = make();
    await setUp.offer('venv-1-bb');
    expect(installed).toHaveBeenCalledTimes(1);
    expect(questions).not.toHaveBeenCalled();
    await setUp.offer('venv-1-cc'); // another one is offered
    expect(questions).toHaveBeenCalled();
  });

  it('is neither offered nor updated while suggestions are off', async () => {
    const questions = vi.spyOn(window, 'showInformationMessage');
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, enabled: false } });
    await setUp.offer('venv-1-bb');
    fs.mkdirSync(path.join(storage, 'venv-0-aa'));
    await setUp.offer('venv-1-bb');
    expect(questions).not.toHaveBeenCalled();
    expect(installed).not.toHaveBeenCalled();
    store.update({ settings: defaults });
    await setUp.offer('venv-1-bb');
    expect(installed).toHaveBeenCalledTimes(1);
  });

  it('sets the phase while it runs, without earlier messages; then the front sets it', async () => {
    const { setUp, store, front } = make();
    const status = { state: 'error', message: 'the model is damaged', progress: null, reason: 'model_damaged' } as const;
    store.update({ phase: 'failed', detail: 'it fails', status });
    const snapshots: unknown[] = [];
    const record = () => Promise.resolve(void snapshots.push(store.snapshot));
    installed.mockImplementation(record);
    front.restart.mockImplementation(record);
    await setUp.start();
    expect(snapshots).toMatchObject([{ phase: 'settingUp', detail: '', status: null }, { phase: 'starting' }]);
  });

  it('is offered once for each environment', async () => {
    const questions = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    const { setUp } = make();
    for (const environment of ['venv-1-aa', 'venv-1-aa', 'venv-1-bb']) {
      await setUp.offer(environment);
    }
    expect(questions).toHaveBeenCalledTimes(2);
  });

  it('is offered again on another machine', async () => {
    const questions = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    await make().setUp.offer('venv-1-aa');
    fs.rmSync(storage, { recursive: true });
    storage = fs.mkdtempSync(path.join(os.tmpdir(), 'green-code-setup-'));
    await make().setUp.offer('venv-1-aa');
    expect(questions).toHaveBeenCalledTimes(2);
  });

  it.each([
    ['Clear and Set Up', 1],
    [undefined, 0],
  ])('does not install what the setting of another interpreter would hide: %s', async (answer, installs) => {
    const questions = vi.spyOn(window, 'showWarningMessage').mockResolvedValue(answer);
    installed.mockResolvedValue();
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, pythonPath: '/opt/python' } });
    await setUp.start();
    expect(questions).toHaveBeenCalledTimes(1);
    expect(installed).toHaveBeenCalledTimes(installs);
    expect(configuration.updates.map(({ key, value }) => [key, value])).toEqual(installs === 1 ? [['pythonPath', '']] : []);
  });

  it.each([
    ['none before, so there was no question', ''],
    ['another one before, which the user agreed to clear', '/opt/python'],
  ])('keeps an interpreter that is set while it runs: %s', async (_, before) => {
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

  it('uses the existing environment if the setting of another interpreter hid it', async () => {
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
    ['idle', 'Green Code is already set up. Set it up again?', 'Set Up Again'],
    ['running', 'Green Code is already set up. Set it up again?', 'Set Up Again'],
    ['failed', 'Set up Green Code?', 'Set Up'],
  ])('mentions an existing environment, unless the front fails: %s', async (phase, question, answer) => {
    await makeEnvironment();
    const questions = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    const { setUp, store } = make();
    store.update({ phase });
    await setUp.start();
    const [message, , button] = questions.mock.calls[0]!;
    expect([message, button]).toEqual([question, answer]);
    expect(installed).not.toHaveBeenCalled();
  });

  it('can start again while its message is open', async () => {
    installed.mockRejectedValue(new InstallError('offline'));
    vi.spyOn(window, 'showErrorMessage').mockReturnValue(new Promise(() => undefined));
    const { setUp } = make();
    await setUp.start();
    await setUp.start();
    expect(installed).toHaveBeenCalledTimes(2);
  });

  it('tries again on request', async () => {
    installed.mockRejectedValueOnce(new InstallError('offline')).mockResolvedValue();
    vi.spyOn(window, 'showErrorMessage').mockResolvedValueOnce('Retry');
    vi.spyOn(window, 'showWarningMessage').mockResolvedValue('Clear and Set Up');
    const { setUp, store } = make();
    store.update({ settings: { ...defaults, pythonPath: '/opt/python' } });
    await setUp.start();
    await vi.waitFor(() => expect(installed).toHaveBeenCalledTimes(2));
    await vi.waitFor(() => expect(configuration.updates).toMatchObject([{ key: 'pythonPath', value: '' }])); // as agreed before
  });

  it('names download, disk space, what is free and minutes before it asks', async () => {
    const questions = vi.spyOn(window, 'showInformationMessage').mockResolvedValue(undefined);
    await make().setUp.start();
    const { detail } = questions.mock.calls[0]![1] as { detail: string };
    expect(detail).toMatch(/a download of [\d.]+ MB, and the model another .* MB\. .* about \d+ minutes? .* [\d.]+ GB of disk space \([\d,.]+ GB are free\)/);
  });

  it('says that it is ready, and which key accepts, once the model is loaded', async () => {
    const shown = vi.spyOn(window, 'showInformationMessage').mockResolvedValueOnce('Set Up').mockResolvedValue(t('setUp.tour'));
    const opened = vi.spyOn(commands, 'executeCommand');
    installed.mockResolvedValue();
    const { setUp, store } = make();
    const status = (state: State) => store.update({ status: { state, message: '', progress: null, reason: null } });
    await setUp.start();
    status('starting');
    status('loading');
    expect(shown).toHaveBeenCalledTimes(1);
    status('ready');
    status('busy');
    await vi.waitFor(() => expect(opened).toHaveBeenCalledWith('workbench.action.openWalkthrough', WALKTHROUGH));
    expect(shown.mock.calls.slice(1)).toEqual([[t('setUp.ready'), t('setUp.tour')]]);
    expect(t('setUp.ready')).toContain('Tab');
  });

  it.each(['error', 'paused'] as const)('does not say so where the engine is not: %s', async (state) => {
    const shown = vi.spyOn(window, 'showInformationMessage').mockResolvedValue('Set Up');
    installed.mockResolvedValue();
    const { setUp, store } = make();
    await setUp.start();
    store.update({ status: { state, message: '', progress: null, reason: null } });
    store.update({ status: { state: 'ready', message: '', progress: null, reason: null } });
    expect(shown).toHaveBeenCalledTimes(1);
  });

  it('does not install again what another window has set up', async () => {
    await makeEnvironment();
    const { setUp, front, store } = make();
    store.update({ phase: 'setUp' });
    await setUp.start();
    expect(front.restart).toHaveBeenCalledTimes(1);
    expect(installed).not.toHaveBeenCalled();
  });
});
