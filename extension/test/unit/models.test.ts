import { afterEach, describe, expect, it, vi } from 'vitest';

import { Cancelled } from '../../src/environment/install';
import { COMMANDS } from '../../src/ids';
import { chooseModel, entries, type Parts } from '../../src/models/choose';
import { chooseFirst } from '../../src/models/first';
import { choices, consent, description, detail, eventOf, ordered, problemOf, type Model } from '../../src/models/list';
import { defaults } from './samples';
import { commands, configuration, window } from './vscode';

afterEach(() => {
  vi.restoreAllMocks();
  configuration.reset();
});

const QWEN: Model = {
  name: 'qwen2.5-coder-0.5b', title: 'Qwen2.5-Coder 0.5B', license: 'Apache-2.0', gated: false, languages: ['Python', 'Go'], fim: true, download_bytes: 491.4e6,
  disk_bytes: 600e6, memory_bytes: 700e6, state: 'available', places: ['PyPI'], milliseconds_per_token: 21.3, milliseconds_per_prompt: 900, joules_per_token: 0.25, joules_per_prompt: 9,
  energy_source: 'estimate', measured: true, fits: true, reason: '', known_as: 'standard', recommended: false, needs: [],
};
const GEMMA: Model = { ...QWEN, name: 'gemma-3-270m', title: 'Gemma 3 270M', license: 'Gemma', state: 'ready', memory_bytes: 300e6, fim: false, known_as: 'light' };
const LARGE: Model = { ...QWEN, name: 'large', title: 'Large', known_as: '', fits: false, reason: 'It needs 40 GB of memory, and this machine has 16 GB.', memory_bytes: 40e9 };

describe('the list of models', () => {
  it('has those that are here first, and those that do not fit last, with the reason', () => {
    expect(ordered([LARGE, QWEN, GEMMA]).map(({ name }) => name)).toEqual(['gemma-3-270m', 'qwen2.5-coder-0.5b', 'large']);
    expect(detail(LARGE)).toContain('40 GB');
  });

  it('shows size, speed, licence, languages and whether the text behind the cursor is read', () => {
    expect(description(QWEN)).toBe('download 491 MB · 700 MB of memory · a line in 0.3 s, 3.00 J');
    expect(detail(QWEN)).toBe('Apache-2.0 · Python, Go · reads the text behind the cursor');
    expect(description({ ...QWEN, recommended: true })).toMatch(/^recommended for this computer · download/);
  });

  it('marks the current model, which cannot be removed, and offers files of other tools', () => {
    const found = entries({ models: [GEMMA, { ...QWEN, state: 'downloaded' }], files: [{ path: '/models/a.gguf', tool: 'Ollama', name: 'a', size: 1e9 }] }, 'gemma-3-270m');
    expect(found.map(({ label }) => label)).toEqual(['$(check) Gemma 3 270M', 'Qwen2.5-Coder 0.5B', 'Downloaded by other tools', 'a', '', '$(folder-opened) Choose a File or Folder…']);
    expect(found.map(({ buttons = [] }) => buttons.length)).toEqual([0, 1, 0, 0, 0, 0]);
  });

  it('names the licence and what else is installed before anything is downloaded', () => {
    expect(consent({ ...QWEN, gated: true, needs: ['hub'] })).toMatch(/491 MB.*PyPI.*Accept it on the hub.*Packages that read it/s);
  });
});

describe('the daemon\'s output', () => {
  it('is read line by line; other lines are no events', () => {
    expect(eventOf('{"event": "done", "name": "a"}')).toEqual({ event: 'done', name: 'a' });
    expect(eventOf('Traceback')).toBeNull();
    expect(eventOf('3')).toBeNull();
  });

  it('gives its own sentence for what went wrong, and else the last line', () => {
    expect(problemOf('{"event":"progress"}\n{"reason": "x", "message": "No network."}', 'noise')).toBe('No network.');
    expect(problemOf('', 'a\nMemoryError')).toBe('MemoryError');
  });
});

describe('Choose Model', () => {
  const got: string[][] = [];
  const restartEngine = vi.fn(() => Promise.resolve());

  function parts(models: readonly Model[], result: Partial<{ code: number | null; stdout: string }> = {}, addExtras: Parts['addExtras'] = () => Promise.resolve()): Parts {
    got.length = 0;
    const run = (args: string[], _signal?: AbortSignal, onLine?: (line: string) => void) => {
      got.push(args);
      if (args[1] === 'list') {
        return Promise.resolve({ code: 0, stdout: JSON.stringify({ models, files: [] }), stderr: '' });
      }
      onLine?.('{"event":"progress","sentence":"downloading","done_bytes":1000000,"total_bytes":2000000}');
      return Promise.resolve({ code: 0, stdout: '', stderr: '', ...result });
    };
    return { daemon: { run }, channels: { extension: { info: () => undefined } }, store: { snapshot: { settings: defaults, endpoint: '' } }, supervisor: { restartEngine }, addExtras } as unknown as Parts;
  }

  const nothing = () => undefined;

  /** Accepts the entry with this title as soon as the list is filled. */
  function choosing(title: string): void {
    vi.spyOn(window, 'createQuickPick').mockImplementation(() => {
      const list = { items: [] as readonly { label: string }[], selectedItems: [] as readonly { label: string }[], show: nothing, dispose: nothing, onDidHide: nothing, onDidTriggerItemButton: nothing, accept: nothing as () => void, onDidAccept(listener: () => void) { this.accept = listener; } };
      return new Proxy(list, {
        set(target, key, value: unknown) {
          Reflect.set(target, key, value);
          if (key === 'items') {
            target.selectedItems = target.items.filter(({ label }) => label === title);
            queueMicrotask(() => target.accept());
          }
          return true;
        },
      });
    });
  }

  const agreeing = (answer: string | undefined) => vi.spyOn(window, 'showInformationMessage').mockResolvedValue(answer);

  it('writes the setting at once for a model that is ready', async () => {
    choosing('Qwen2.5-Coder 0.5B');
    await chooseModel(parts([{ ...QWEN, state: 'ready' }]));
    expect(got.map((args) => args[1])).toEqual(['list']);
    expect(configuration.updates.map(({ key, value }) => [key, value])).toEqual([['model', 'qwen2.5-coder-0.5b']]);
  });

  it('downloads nothing without consent', async () => {
    choosing('Qwen2.5-Coder 0.5B');
    agreeing(undefined);
    await chooseModel(parts([QWEN]));
    expect(got.map((args) => args[1])).toEqual(['list']);
    expect(configuration.updates).toEqual([]);
  });

  it('gets what is missing with progress, then writes the setting', async () => {
    choosing('Qwen2.5-Coder 0.5B');
    agreeing('Get');
    const reported: string[] = [];
    vi.spyOn(window, 'withProgress').mockImplementation((_, task) => task({ report: ({ message }: { message: string }) => reported.push(message) }, { onCancellationRequested: () => undefined }));
    const extras: (readonly string[])[] = [];
    await chooseModel(parts([{ ...QWEN, needs: ['hub'] }], {}, (wanted) => Promise.resolve(void extras.push(wanted))));
    expect(extras).toEqual([['hub']]);
    expect(reported).toContain('downloading: 1 MB of 2 MB');
    expect(got.at(-1)).toEqual(['models', 'get', 'qwen2.5-coder-0.5b', '--json']);
    expect(configuration.updates.map(({ value }) => value)).toEqual(['qwen2.5-coder-0.5b']);
  });

  it('leaves the setting alone where it is cancelled or fails', async () => {
    choosing('Qwen2.5-Coder 0.5B');
    agreeing('Get');
    vi.spyOn(window, 'withProgress').mockImplementation((_, task) => task({ report: () => undefined }, { onCancellationRequested: () => undefined }));
    await chooseModel(parts([{ ...QWEN, needs: ['hub'] }], {}, () => Promise.reject(new Cancelled())));
    await expect(chooseModel(parts([QWEN], { code: 1, stdout: '{"message": "No network."}' }))).rejects.toThrow('No network.');
    expect(configuration.updates).toEqual([]);
  });

  it('lets the engine try again at once where the model of the settings was missing', async () => {
    agreeing('Get');
    choosing('Qwen2.5-Coder 0.5B');
    await chooseModel(parts([QWEN]));
    expect(restartEngine).not.toHaveBeenCalled(); // it hears of another setting
    choosing('$(check) Gemma 3 270M');
    await chooseModel(parts([{ ...GEMMA, state: 'available' }]));
    expect(restartEngine).toHaveBeenCalledTimes(1);
  });

  it('does not get a model that does not fit', async () => {
    choosing('Large');
    const warned = vi.spyOn(window, 'showWarningMessage');
    await chooseModel(parts([LARGE]));
    expect(warned.mock.calls[0]?.[0]).toContain('40 GB');
    expect(got.map((args) => args[1])).toEqual(['list']);
  });
});

describe('the choice of the first model', () => {
  const LIGHT: Model = { ...GEMMA, state: 'available' };
  const STANDARD: Model = { ...QWEN, recommended: true };
  const runs: string[][] = [];

  function parts(models: readonly Model[], get = { code: 0, stdout: '' }): Parts {
    runs.length = 0;
    const run = (args: string[]) => {
      runs.push(args);
      return Promise.resolve(args[1] === 'list' ? { code: 0, stdout: JSON.stringify({ models, files: [] }), stderr: '' } : { stderr: '', ...get });
    };
    const channels = { extension: { info: () => undefined, error: () => undefined }, showFailure: () => undefined };
    return { daemon: { run }, channels, store: { snapshot: { settings: defaults, endpoint: '' } }, addExtras: () => Promise.resolve() } as unknown as Parts;
  }

  const choosing = (label: string | undefined) => vi.spyOn(window, 'showQuickPick').mockImplementation((items) => Promise.resolve(items.find((item) => (item as { label: string }).label === label)));

  it('shows what each takes, is good for and is licensed under, and preselects the recommended one', () => {
    expect(choices({ models: [LIGHT, LARGE, STANDARD], files: [] })).toMatchObject([
      {
        label: 'Standard',
        description: 'Qwen2.5-Coder 0.5B · recommended for this computer',
        detail: 'right more often, in more languages; needs a faster computer · download 491 MB · 700 MB of memory · first suggestion in a file in 1.2 s · a line in 0.3 s, 3.00 J · Apache-2.0',
      },
      { label: 'Light', description: 'Gemma 3 270M' },
    ]);
    expect(choices({ models: [{ ...LIGHT, recommended: true }, STANDARD], files: [] })[0]?.label).toBe('Light');
    expect(choices({ models: [LIGHT, { ...STANDARD, fits: false }], files: [] }).map(({ label }) => label)).toEqual(['Light']);
  });

  it.each([['Light', LIGHT.name], ['Standard', STANDARD.name]])('gets the chosen one, and writes the setting: %s', async (label, name) => {
    choosing(label);
    await chooseFirst(parts([LIGHT, STANDARD]));
    expect(runs).toEqual([['models', 'list', '--json'], ['models', 'get', name, '--json']]);
    expect(configuration.updates.map(({ key, value }) => [key, value])).toEqual([['model', name]]);
  });

  it('downloads nothing where the user does not choose', async () => {
    choosing(undefined);
    await chooseFirst(parts([LIGHT, STANDARD]));
    expect(runs).toHaveLength(1);
    expect(configuration.updates).toEqual([]);
  });

  it('is not asked where the model of the settings is here already', async () => {
    const asked = choosing('Standard');
    await chooseFirst(parts([{ ...LIGHT, state: 'downloaded' }, STANDARD]));
    expect(asked).not.toHaveBeenCalled();
  });

  it('that cannot be got leads to the list of models', async () => {
    choosing('Light');
    const shown = vi.spyOn(window, 'showErrorMessage').mockResolvedValue('Choose Model');
    const executed = vi.spyOn(commands, 'executeCommand');
    await chooseFirst(parts([LIGHT, STANDARD], { code: 1, stdout: '{"message": "No network."}' }));
    await vi.waitFor(() => expect(executed).toHaveBeenCalledWith(COMMANDS.chooseModel));
    expect(shown.mock.calls[0]?.[0]).toContain('No network.');
    expect(configuration.updates).toEqual([]);
  });

  it('says why none of them fits', async () => {
    const shown = vi.spyOn(window, 'showErrorMessage');
    await chooseFirst(parts([{ ...LIGHT, fits: false, reason: 'It needs 1.0 GB on the disk.' }]));
    expect(shown.mock.calls[0]?.[0]).toContain('Gemma 3 270M: It needs 1.0 GB on the disk.');
  });
});
