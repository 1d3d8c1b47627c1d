/** Finds a Python that can create the managed environment. Must not use the editor's API. */
import { t } from '../l10n';
import { lastLine, PROBE_TIMEOUT_MS, run as realRun, type Run } from './processes';
import { managedVariables } from './variables';

const OLDEST = [3, 10] as const;

export interface Interpreter {
  readonly command: string;
  readonly args: readonly string[];
}

const PROBE = 'import sys, venv, ensurepip; print("%d.%d" % sys.version_info[:2])';

/**
 * In order of preference. The versioned names are for systems whose `python3` is too old. The newest comes last, because torch
 * may have no wheel for it yet.
 */
export function candidates(platform: NodeJS.Platform): readonly Interpreter[] {
  if (platform === 'win32') {
    return [
      { command: 'py', args: ['-3'] },
      { command: 'python', args: [] },
      { command: 'python3', args: [] },
    ];
  }
  const names = ['python3', 'python', 'python3.13', 'python3.12', 'python3.11', 'python3.10', 'python3.14'];
  const elsewhere = platform === 'darwin' ? ['/opt/homebrew/bin/python3', '/usr/local/bin/python3'] : [];
  return [...names, ...elsewhere].map((command) => ({ command, args: [] }));
}

interface Search {
  readonly found: Interpreter | null;
  /** Why each existing candidate was rejected, for the error message. */
  readonly rejected: readonly string[];
}

export async function findInterpreter(cwd: string, run: Run = realRun, platform = process.platform): Promise<Search> {
  const rejected: string[] = [];
  for (const candidate of candidates(platform)) {
    const name = [candidate.command, ...candidate.args].join(' ');
    const result = await run(candidate.command, [...candidate.args, '-c', PROBE], { cwd, env: managedVariables(), timeoutMs: PROBE_TIMEOUT_MS });
    if (result.code === null) {
      continue;
    }
    if (result.code !== 0) {
      const cause = lastLine(result.stderr);
      rejected.push(
        /No module named '(venv|ensurepip)'/.test(cause)
          ? t('python.noVenv', { name })
          : t('python.fails', { name, cause }),
      );
      continue;
    }
    if (isRecent(result.stdout.trim())) {
      return { found: candidate, rejected };
    }
    rejected.push(t('python.version', { name, version: result.stdout.trim() }));
  }
  return { found: null, rejected };
}

export function isRecent(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1]);
}

export function noInterpreterMessage(rejected: readonly string[]): string {
  const oldest = OLDEST.join('.');
  return rejected.length === 0
    ? t('python.notFound', { oldest })
    : t('python.rejected', { oldest, rejected: rejected.join('; ') });
}
