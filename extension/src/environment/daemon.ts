/** The daemon's command line, run with the selected interpreter. Must not use the editor's API. */
import fs from 'node:fs/promises';

import { t } from '../l10n';
import { bundlesFolder } from './bundles';
import { noAnswerIn } from './causes';
import { run, type RunResult } from './processes';
import { resolve, type Home, type Ready, type Resolution } from './resolve';
import { daemonVariables } from './variables';

/** For commands that the user cannot cancel: they may wait for a disk or an engine that hangs. */
const COMMAND_TIMEOUT_MS = 120_000;

export const notSetUp = (): string => t('setUp.notSetUp');

export class Daemon {
  constructor(
    private readonly home: Home,
    readonly extensionPath: string,
    private readonly pythonPath: () => string,
  ) {}

  /** The working folder of its processes. */
  get cwd(): string {
    return this.home.storage;
  }

  /** The interpreter that the settings select. */
  async interpreter(): Promise<Resolution> {
    await fs.mkdir(this.cwd, { recursive: true });
    return resolve({ ...this.home, pythonPath: this.pythonPath() });
  }

  variables({ origin }: Ready): NodeJS.ProcessEnv {
    return daemonVariables(origin, bundlesFolder(this.extensionPath));
  }

  /** Runs a command to its end, which comes by `signal` or within two minutes. Throws where there is no usable interpreter. */
  async run(args: readonly string[], signal?: AbortSignal, onLine?: (line: string) => void): Promise<RunResult> {
    const interpreter = await this.interpreter();
    if (interpreter.kind !== 'ready') {
      throw new Error(interpreter.kind === 'wrong' ? interpreter.message : notSetUp());
    }
    const ends = signal === undefined ? { timeoutMs: COMMAND_TIMEOUT_MS } : { signal };
    const options = { cwd: this.cwd, env: this.variables(interpreter), ...ends, ...(onLine === undefined ? {} : { onLine }) };
    const result = await run(interpreter.python, ['-m', 'green_code', ...args], options);
    return signal === undefined && result.code === null ? { ...result, stderr: result.stderr || noAnswerIn(COMMAND_TIMEOUT_MS) } : result;
  }
}
