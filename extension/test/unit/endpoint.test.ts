import type { ExtensionContext } from 'vscode';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';

import type { Requests } from '../../src/client/requests';
import { hostOf, originOf, withoutApiKey } from '../../src/endpoint/address';
import { Endpoint } from '../../src/endpoint/endpoint';
import { settingsForFront } from '../../src/settings';
import { Store } from '../../src/state/store';
import { present } from '../../src/status/presentation';
import { defaults, energy, snapshot, totals } from './samples';
import { configuration, window } from './vscode';

const ADDRESS = 'https://ai.example.com/v1#coder';
const HOST = 'ai.example.com';

type Answers = Record<'showWarningMessage' | 'showErrorMessage' | 'showInputBox', (...args: readonly unknown[]) => Promise<string | undefined>>;
const dialogs = window as unknown as Answers;
const settings = { ...defaults, endpoint: ADDRESS };

function parts(memory = new Map<string, unknown>(), secrets = new Map<string, string>()) {
  const changed = new Set<(event: { key: string }) => void>();
  const told = (key: string) => changed.forEach((listener) => listener({ key }));
  const store = new Store(settings);
  const requests = { apiKey: vi.fn(), sendSettings: vi.fn(() => Promise.resolve()) };
  const context = {
    globalState: { get: (key: string) => memory.get(key), update: (key: string, value: unknown) => Promise.resolve(void memory.set(key, value)) },
    secrets: {
      get: (key: string) => Promise.resolve(secrets.get(key)),
      store: (key: string, value: string) => Promise.resolve(void secrets.set(key, value)).then(() => told(key)),
      delete: (key: string) => Promise.resolve(void secrets.delete(key)).then(() => told(key)),
      onDidChange: (listener: (event: { key: string }) => void) => {
        changed.add(listener);
        return { dispose: () => undefined };
      },
    },
  } as unknown as ExtensionContext;
  const fail = vi.fn();
  const endpoint = new Endpoint(store, requests as unknown as Requests, context.globalState, context.secrets, fail);
  return { store, requests, endpoint, fail, memory, secrets };
}
const idle = () => new Promise((next) => setTimeout(next));

beforeEach(() => {
  configuration.reset();
  Object.entries(settings).forEach(([key, value]) => configuration.user.set(key, value));
});
afterEach(() => void vi.restoreAllMocks());

describe('an address', () => {
  it.each([
    ['https://AI.example.com/v1', 'https://ai.example.com', 'ai.example.com'],
    ['http://localhost:8012/infill', 'http://localhost:8012', 'localhost:8012'],
    ['', null, ''],
    ['file:///etc/passwd', null, ''],
    ['nonsense', null, ''],
  ])('%s', (address, origin, host) => {
    expect([originOf(address), hostOf(address)]).toEqual([origin, host]);
  });

  it('leaves no API key in a trace', () => {
    expect(withoutApiKey('Params: {\n    "endpoint": "x",\n    "api_key": "se\\"cret"\n}')).toBe('Params: {\n    "endpoint": "x",\n    "api_key": "…"\n}');
  });
});

describe('consent', () => {
  it('is asked for once, with the host, and before it the front hears of no endpoint', async () => {
    const asked = vi.spyOn(dialogs, 'showWarningMessage').mockResolvedValue('Not Now');
    const { endpoint, store, requests, memory } = parts();
    endpoint.use(settings);
    endpoint.use(settings);
    await idle();
    expect(asked.mock.calls.map(([text]) => String(text).includes(HOST))).toEqual([true]);
    expect([store.snapshot.endpoint, memory.size, requests.sendSettings.mock.calls.length]).toEqual(['', 0, 0]);
    expect(settingsForFront(store.snapshot)).toMatchObject({ endpoint: '' });
  });

  it('holds for the host, on this machine', async () => {
    const asked = vi.spyOn(dialogs, 'showWarningMessage').mockResolvedValue('Allow');
    const first = parts();
    first.endpoint.use(settings);
    await idle();
    expect(first.store.snapshot.endpoint).toBe(ADDRESS);
    expect(first.requests.sendSettings).toHaveBeenCalledOnce();
    expect(settingsForFront(first.store.snapshot)).toMatchObject({ endpoint: ADDRESS });
    const { endpoint, store } = parts(first.memory);
    endpoint.use({ ...settings, endpoint: `https://${HOST}/v1#other` });
    expect(store.snapshot.endpoint).toContain('#other');
    expect(asked).toHaveBeenCalledOnce();
    endpoint.use({ ...settings, endpoint: 'https://evil.example.com/v1' });
    expect(store.snapshot.endpoint).toBe('');
    endpoint.use(defaults);
    expect(store.snapshot.endpoint).toBe('');
  });

  it('leaves a wrong value to the front, which names it', () => {
    configuration.user.set('endpoint', 7);
    expect(settingsForFront({ snooze: null, endpoint: '' })).toMatchObject({ endpoint: 7 });
    configuration.user.set('endpoint', 'localhost:8012/v1');
    expect(settingsForFront({ snooze: null, endpoint: '' })).toMatchObject({ endpoint: 'localhost:8012/v1' });
  });

  it('does not let a workspace send files that the user excludes', () => {
    configuration.user.set('excludedFiles', ['**/*.pem']);
    configuration.workspace.set('excludedFiles', ['**/*.sql']);
    expect(settingsForFront({ snooze: null, endpoint: '' }).excludedFiles).toEqual(['**/*.sql']);
    expect(settingsForFront({ snooze: null, endpoint: ADDRESS }).excludedFiles).toEqual(['**/*.sql', '**/*.pem']);
  });

  it.each([
    ['too many for one list', Array.from({ length: 256 }, (_, i) => `${i}.sql`)],
    ['no list', '**/*.sql'],
  ])('sends nothing where both lists of exclusions cannot be used together: %s', (_, ofWorkspace) => {
    configuration.user.set('excludedFiles', ['**/*.pem']);
    configuration.workspace.set('excludedFiles', ofWorkspace);
    expect(settingsForFront({ snooze: null, endpoint: ADDRESS }).endpoint).toBe('');
  });
});

describe('the API key', () => {
  const allowed = () => new Map<string, unknown>([['allowedEndpoints', [`https://${HOST}`]]]);

  it('goes to each front that starts, and when it changes; none takes away what another editor gave', async () => {
    const { endpoint, store, requests, secrets } = parts(allowed());
    vi.spyOn(dialogs, 'showWarningMessage');
    dialogs.showInputBox = () => Promise.resolve(' sk-1 ');
    endpoint.use(settings);
    await idle();
    expect(requests.apiKey).not.toHaveBeenCalled();
    store.update({ phase: 'running' });
    await idle();
    await endpoint.setApiKey();
    await idle();
    expect([...secrets]).toEqual([[`apiKey https://${HOST}`, 'sk-1']]);
    store.update({ phase: 'starting' });
    store.update({ phase: 'running' });
    await idle();
    dialogs.showInputBox = () => Promise.resolve('');
    await endpoint.setApiKey();
    await idle();
    expect(requests.apiKey.mock.calls).toEqual([[ADDRESS, 'sk-1'], [ADDRESS, 'sk-1'], [ADDRESS, '']]);
    expect(secrets.size).toBe(0);
  });

  it('is never sent to a host that is not allowed, and cannot be set without one', async () => {
    vi.spyOn(dialogs, 'showWarningMessage').mockResolvedValue(undefined);
    const { endpoint, store, requests } = parts(new Map(), new Map([[`apiKey https://${HOST}`, 'sk-1']]));
    endpoint.use(settings);
    store.update({ phase: 'running' });
    await idle();
    expect(requests.apiKey).not.toHaveBeenCalled();
    const told = vi.spyOn(dialogs, 'showErrorMessage').mockResolvedValue(undefined);
    store.update({ settings: defaults });
    await endpoint.setApiKey();
    expect(told).toHaveBeenCalledOnce();
  });
});

describe('a server', () => {
  it('stands in the status item, with unknown joules', () => {
    const unknown = { ...totals, unmeasured: 120, energy_joules: 0, energy_full_joules: 0, saved_joules: 0, saving: 0, source: 'unknown' };
    const status = { state: 'ready', message: '', progress: null, reason: null } as const;
    const shown = present(snapshot({ energy: { ...energy, today: unknown, session: unknown, model: ADDRESS }, endpoint: ADDRESS, status }), null, null);
    expect(shown.text).toBe(`$(cloud) ${HOST}`);
    expect(shown.label).toContain(HOST);
    expect(shown.tooltip).toContain('| Used | unknown | unknown |');
    expect(shown.tooltip).toContain('Energy unknown for 120 suggestions');
    expect(shown.tooltip).not.toContain('0 J');
  });
});
