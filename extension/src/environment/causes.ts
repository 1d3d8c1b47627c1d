/**
 * Causes of failures, in words for the user. pip and venv hide some of them: without a network, pip's last line is that a
 * package has no such version, and venv gives only the exit status of a command. Must not use the editor's API.
 */
import { t } from '../l10n';
import { gigabytes } from '../state/format';
import { NEEDS } from './needs';

/** The least with which Set Up begins; needs.ts has what it usually takes. */
export const NEEDED_BYTES = 0.8e9;

const DISK_FULL = /No space left on device|ENOSPC|EDQUOT|not enough space on the disk|Disk quota exceeded|WinError 112\b/;
const UNREACHABLE = /connection broken by '(.+?)': |Max retries exceeded with url: .+? \(Caused by (.+)\)/g;
/** Last lines that follow from an unreachable index. Any other last line has a cause of its own, even after retries. */
const NOTHING_FOUND = /No matching distribution found|Max retries exceeded|timed out/;
/** The system's message in a Python exception. */
const SYSTEM_MESSAGE = /\[(?:Errno -?\d+|SSL: \w+)\] ([^'")(]+)/;

export const noAnswerIn = (ms: number): string => t('setUp.noAnswer', { seconds: String(ms / 1000) });

/** Whether the output of a step reports a full disk. */
export const isDiskFull = (output: string): boolean => DISK_FULL.test(output);

export function diskFull(folder: string, freeBytes: number): string {
  const values = { folder, needed: gigabytes(NEEDED_BYTES), usual: gigabytes(NEEDS.diskBytes), free: gigabytes(freeBytes) };
  return t('setUp.diskFull', values);
}

/** What to do where Windows refuses paths of more than 260 characters; null if pip's output does not report that. */
export function pathsTooLong(output: string): string | null {
  return output.includes('Windows Long Path support')
    ? t('setUp.longPaths')
    : null;
}

/** That the index has other files than this extension was packed with; null if pip's output does not report that. */
export const otherFiles = (output: string): string | null => (output.includes('DO NOT MATCH THE HASHES') ? t('setUp.otherFiles') : null);

/** Why the package index could not be reached; null if pip failed for another reason. */
export function unreachable(output: string, lastLine: string): string | null {
  const found = [...output.matchAll(UNREACHABLE)].at(-1);
  if (found === undefined || !NOTHING_FOUND.test(lastLine)) {
    return null;
  }
  const exception = found[1] ?? found[2] ?? '';
  const cause = SYSTEM_MESSAGE.exec(exception)?.[1]?.trim() ?? /^\w+/.exec(exception)?.[0] ?? exception;
  return t('setUp.offline', { cause });
}
