import os from 'node:os';
import path from 'node:path';

import type { ExtensionContext } from 'vscode';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';

import { activate, deactivate } from '../../src/extension';
import { COMMANDS } from '../../src/ids';
import { configuration, events, workspace } from './vscode';

const system = vi.hoisted(() => ({ spawn: vi.fn(), spawnSync: vi.fn(), resolve: vi.fn(() => Promise.resolve({ kind: 'missing', name: 'venv' })), mkdir: vi.fn(() => Promise.resolve()) }));
vi.mock('node:child_process', () => ({ spawn: system.spawn, spawnSync: system.spawnSync }));
vi.mock('node:fs/promises', async (original) => {
  const { default: fs } = await original<{ default: object }>();
  return { default: { ...fs, mkdir: system.mkdir } };
});
vi.mock('../../src/environment/resolve', async (original) => ({ ...(await original<object>()), resolve: system.resolve }));
vi.mock('../../src/client/client', () => {
  throw new Error('no client is needed');
});

const context = {
  extension: { packageJSON: { version: '0.1.0' } },
  extensionPath: '/extension',
  extensionUri: {},
  globalState: { get: () => undefined, update: () => Promise.resolve() },
  secrets: { onDidChange: () => ({ dispose: () => undefined }), get: () => Promise.resolve(undefined) },
  globalStorageUri: { fsPath: path.join(os.tmpdir(), 'no-such-storage') },
  subscriptions: new Array<{ dispose(): void }>(),
};

const open = (languageId: string, scheme = 'file') => {
  const document = { uri: { scheme }, languageId };
  workspace.textDocuments.push(document);
  events.fire('onDidOpenTextDocument', document);
};
const change = (key: string, value: unknown) => {
  configuration.user.set(key, value);
  events.fire('onDidChangeConfiguration', { affectsConfiguration: () => true });
};
/** What an activation or event starts in the background has begun by then. */
const idle = () => new Promise((next) => setTimeout(next, 20));
const calls = () => Object.fromEntries(Object.entries(system).map(([name, { mock }]) => [name, mock.calls.length]));
const none = { spawn: 0, spawnSync: 0, resolve: 0, mkdir: 0 };

beforeEach(() => {
  Object.values(system).forEach((mock) => mock.mockClear());
  configuration.reset();
  workspace.textDocuments.length = 0;
});

afterEach(async () => {
  await deactivate();
  context.subscriptions.splice(0).forEach((part) => part.dispose());
  events.clear();
});

const start = () => activate(context as unknown as ExtensionContext);

it('a window without a supported document starts no process, looks for no interpreter and creates no folder', async () => {
  open('dart');
  open('plaintext', 'untitled');
  open('python', 'output');
  open('python', 'git');
  start();
  open('markdown');
  change('threshold', 0.6);
  change('pythonPath', '/opt/python');
  change('languages', ['rust']);
  change('enabled', false);
  change('enabled', true);
  await idle();
  expect(calls()).toEqual(none);
});

it('a supported document in a window with suggestions off starts nothing either', async () => {
  configuration.user.set('enabled', false);
  open('python');
  start();
  await idle();
  expect(calls()).toEqual(none);
});

it.each(['at activation', 'later'])('a supported document that is open %s starts the search for an interpreter, once', async (when) => {
  if (when === 'later') {
    open('dart');
    start();
    await idle();
    expect(calls()).toEqual(none);
    open('python');
  } else {
    open('python');
    start();
  }
  open('java');
  await vi.waitFor(() => expect(system.resolve).toHaveBeenCalled());
  await idle();
  expect(calls()).toMatchObject({ resolve: 1, spawn: 0 });
});

it('all commands of the manifest are registered', () => {
  start();
  expect(events.commands).toEqual(expect.arrayContaining(Object.values(COMMANDS)));
});
