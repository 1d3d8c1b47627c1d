/**
 * Set Up in processes of its own, with a fake Python whose pip writes its packages one by one. Windows are killed at random
 * moments, the network and the disk fail at random steps, two windows set up at once, and the extension is updated.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import { buildSync } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { claim, unclaim } from '../../src/environment/claims';
import { isAbandoned } from '../../src/environment/folders';
import { managedFolder, pythonIn, resolve } from '../../src/environment/resolve';
import { wheelIn } from './results';

const SEEDS = Number(process.env.GREEN_CODE_TRIALS ?? 2);
const PARTS = 4;
const STEP_MS = 15;

const WINDOW = `
import { install } from '../../src/environment/install';

const [storage, bundled] = process.argv.slice(2);
const nothing = () => undefined;
const options = { storage, bundled, version: '0.1.0', signal: new AbortController().signal, progress: nothing, log: nothing };
install({ ...options, release: () => Promise.resolve(), freeBytes: () => Promise.resolve(50e9) }).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
`;

/** FAIL: where a set-up fails, and how. The parts are pip's. */
const FAILURES = [
  'disk venv',
  ...Array.from({ length: PARTS }, (_, part) => [`network ${part}`, `disk ${part}`]).flat(),
  'disk doctor',
  'broken doctor',
];

/** An environment is whole when it has all its parts. */
const PYTHON = `#!/bin/sh
home=$(dirname "$(dirname "$0")")
pause() { sleep ${STEP_MS / 1000}; }
fail() {
  if [ "$FAIL" = "network $1" ]; then echo 'ERROR: No matching distribution found' >&2; exit 1; fi
  if [ "$FAIL" = "disk $1" ]; then echo 'OSError: [Errno 28] No space left on device' >&2; exit 1; fi
  if [ "$FAIL" = "broken $1" ]; then echo 'ImportError: the library cannot be loaded' >&2; exit 1; fi
}
case "$*" in
  *-m\\ venv*) for last; do :; done; mkdir -p "$last/bin" && pause && fail venv; cp "$0" "$last/bin/python";;
  *-m\\ pip\\ install*)
    for part in ${Array.from({ length: PARTS }, (_, i) => i).join(' ')}; do
      pause
      fail "$part"
      echo whole > "$home/part$part" || exit 1
    done;;
  *doctor*) pause; fail doctor; for part in ${Array.from({ length: PARTS }, (_, i) => i).join(' ')}; do [ -s "$home/part$part" ] || exit 1; done; echo '{}';;
  *) echo 3.12;;
esac
`;

/** The same numbers for the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

describe.skipIf(process.platform === 'win32')('Set Up cannot be broken', () => {
  let root = '';
  beforeAll(() => {
    root = fs.mkdtempSync(path.join(os.tmpdir(), 'green-code-killed-'));
    fs.mkdirSync(path.join(root, 'bin'));
    fs.writeFileSync(path.join(root, 'bin', 'python3'), PYTHON, { mode: 0o755 });
    const alias = { vscode: path.join(import.meta.dirname, 'vscode.ts') };
    const stdin = { contents: WINDOW, resolveDir: import.meta.dirname, loader: 'ts' as const };
    buildSync({ stdin, bundle: true, platform: 'node', format: 'cjs', outfile: path.join(root, 'window.cjs'), alias, logLevel: 'error' });
  });
  afterAll(() => fs.rmSync(root, { recursive: true, force: true, maxRetries: 20 }));

  const open = (storage: string, bundled: string, fail = ''): ChildProcess =>
    spawn(process.execPath, [path.join(root, 'window.cjs'), storage, bundled], {
      env: { ...process.env, PATH: `${path.join(root, 'bin')}:${process.env.PATH}`, FAIL: fail },
      stdio: ['ignore', 'ignore', 'pipe'],
    });
  const ended = (child: ChildProcess) => new Promise<number | null>((done) => child.once('close', (code) => done(code)));

  const created = (name: string) => {
    const folder = path.join(root, name);
    const home = { storage: path.join(folder, 'storage'), version: '0.1.0', bundled: path.join(folder, 'bundled') };
    fs.mkdirSync(home.bundled, { recursive: true });
    fs.writeFileSync(wheelIn(home), 'wheel');
    return home;
  };
  const answers = (environment: string) => spawnSync(pythonIn(environment), ['-m', 'green_code', 'doctor']).status === 0;

  it('an update whose set-up fails leaves the environment that windows run from', { timeout: 60_000 }, async () => {
    const home = created('update');
    expect(await ended(open(home.storage, home.bundled))).toBe(0);
    const older = await managedFolder(home, wheelIn(home));
    fs.writeFileSync(wheelIn(home), 'wheel of the update');
    for (const fail of ['disk venv', 'network 2', 'broken doctor']) {
      expect(await ended(open(home.storage, home.bundled, fail)), fail).toBe(1);
      expect(answers(older), fail).toBe(true);
      expect((await resolve({ ...home, pythonPath: '' })).kind).toBe('missing');
    }
    expect(await ended(open(home.storage, home.bundled))).toBe(0);
    expect(fs.readdirSync(home.storage)).toEqual([path.basename(await managedFolder(home, wheelIn(home)))]);
  });

  it.each(Array.from({ length: SEEDS }, (_, i) => i + 1))('whatever is killed or fails, seed %i', { timeout: 60_000 }, async (seed) => {
    const random = randomFrom(seed);
    const pick = (count: number) => Math.floor(random() * count);
    const home = created(`seed-${seed}`);
    const final = () => managedFolder(home, wheelIn(home));
    /** The environment of an earlier build, which windows that have not been reloaded still run from. */
    let older = '';
    let isUsed = false;
    /** What a new window finds: an environment that works, or none. */
    const works = async () => {
      const found = await resolve({ ...home, pythonPath: '' });
      if (found.kind !== 'ready') {
        return false;
      }
      expect(answers(await final()), 'half an environment is used').toBe(true);
      return true;
    };
    if (random() < 0.5) {
      expect(await ended(open(home.storage, home.bundled))).toBe(0);
    }
    for (let disturbance = 0; disturbance < 4; disturbance += 1) {
      const before = await works();
      const kind = pick(5);
      if (kind < 2) {
        const fail = FAILURES[pick(FAILURES.length)];
        expect(await ended(open(home.storage, home.bundled, fail)), fail).toBe(1);
      } else if (kind === 4) {
        if (before) {
          await unclaim(older);
          older = await final();
          isUsed = random() < 0.5;
          if (isUsed) {
            await claim(older);
          }
        }
        fs.writeFileSync(wheelIn(home), `wheel of update ${disturbance}`);
      } else {
        const windows = Array.from({ length: kind - 1 }, () => open(home.storage, home.bundled));
        const ends = windows.map(ended);
        await sleep(60 + random() * (12 * STEP_MS));
        windows[0]!.kill('SIGKILL');
        await Promise.all(ends);
      }
      const mayBeMissing = !before || kind === 4;
      expect((await works()) || (mayBeMissing && (older === '' || answers(older))), 'the environment that worked is gone').toBe(true);
    }
    expect(await ended(open(home.storage, home.bundled))).toBe(0);
    expect(await works()).toBe(true);
    if (isUsed) {
      expect(answers(older), 'a window lost the environment that it runs from').toBe(true);
      await unclaim(older);
      expect(await ended(open(home.storage, home.bundled))).toBe(0);
    }
    await sleep(12 * STEP_MS); // the pip of a killed window ends
    expect(fs.readdirSync(home.storage).filter((name) => !isAbandoned(name))).toEqual([path.basename(await final())]);
  });
});
