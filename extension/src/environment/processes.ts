/** Child processes that can be stopped with all their descendants: pip starts compilers, and those start more. */
import { spawn, spawnSync, type ChildProcess, type ChildProcessByStdio } from 'node:child_process';
import os from 'node:os';
import type { Readable } from 'node:stream';

interface RunOptions {
  /** A folder that only we write to: `python -c` and `python -m` import from it first. */
  readonly cwd: string;
  readonly env?: NodeJS.ProcessEnv;
  readonly signal?: AbortSignal;
  readonly timeoutMs?: number;
  readonly onLine?: (line: string) => void;
}

export interface RunResult {
  /** null if it was killed or could not be started. */
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export type Run = (command: string, args: readonly string[], options: RunOptions) => Promise<RunResult>;

/** Time for an interpreter to answer a one-line program. */
export const PROBE_TIMEOUT_MS = 20_000;

/** Runs a command to its end; never rejects. One that cannot be started gives code null and the cause on stderr. */
export const run: Run = (command, args, options) =>
  new Promise((resolve) => {
    if (options.signal?.aborted) {
      resolve({ code: null, stdout: '', stderr: 'cancelled' });
      return;
    }
    const child = start(command, args, options);
    if (child instanceof Error) {
      resolve({ code: null, stdout: '', stderr: child.message });
      return;
    }
    const output = { stdout: '', stderr: '' };
    for (const name of ['stdout', 'stderr'] as const) {
      let rest = '';
      child[name].setEncoding('utf8').on('data', (chunk: string) => {
        output[name] += chunk;
        const lines = (rest + chunk).split(/\r?\n|\r/);
        rest = lines.pop() ?? '';
        lines.filter(Boolean).forEach((line) => options.onLine?.(line));
      });
    }
    const stop = () => killTree(child);
    options.signal?.addEventListener('abort', stop, { once: true });
    const timer = options.timeoutMs === undefined ? undefined : setTimeout(stop, options.timeoutMs);
    const finish = (code: number | null, problem = '') => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', stop);
      resolve({ code, stdout: output.stdout, stderr: output.stderr + problem });
    };
    child.once('error', (error) => finish(null, error.message));
    child.once('close', (code) => finish(code));
  });

/** Some failed starts are reported by an event, others (a folder, a .bat on Windows) by an exception. */
function start(command: string, args: readonly string[], options: RunOptions): ChildProcessByStdio<null, Readable, Readable> | Error {
  try {
    return spawn(command, args, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: process.platform !== 'win32', // a process group of its own, for killTree
      windowsHide: true,
    });
  } catch (error) {
    return error instanceof Error ? error : new Error(String(error));
  }
}

function killTree(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null) {
    return;
  }
  if (process.platform === 'win32') {
    spawnSync('taskkill', ['/pid', String(child.pid), '/T', '/F'], { windowsHide: true });
    return;
  }
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL'); // the group has ended; make sure that the child has
  }
}

/** When this machine booted: a process id from before belongs to another process now. */
export const bootMs = (): number => Date.now() - os.uptime() * 1000;

/** Whether a process with this id exists, ours or another user's. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

/** The last line with text: where Python and pip put the cause. */
export function lastLine(text: string): string {
  return text.trim().split(/\r?\n/).at(-1)?.trim() ?? '';
}
