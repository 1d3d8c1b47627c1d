/**
 * Causes that pip and venv bury under other words: offline, the last thing that pip says is that a package has no
 * such version, and venv gives no more than the status of a command. Must not know: the editor's API.
 */
import { t } from '../l10n';
import { gigabytes } from '../state/format';

/** What an environment takes at least; with the GPU libraries that PyPI's PyTorch brings on Linux it is five times that. */
export const NEEDED_BYTES = 2e9;

const FULL = /No space left on device|ENOSPC|EDQUOT|not enough space on the disk|Disk quota exceeded|WinError 112\b/;
const UNREACHABLE = /connection broken by '(.+?)': |Max retries exceeded with url: .+? \(Caused by (.+)\)/g;
/** What follows from nothing having been reached. Other last words have a cause of their own, whatever went wrong on the way. */
const NOTHING_FOUND = /No matching distribution found|Max retries exceeded|timed out/;
/** The system's own words in a Python exception. */
const SYSTEM_WORDS = /\[(?:Errno -?\d+|SSL: \w+)\] ([^'")(]+)/;

/** Whether this output of a step says that the disk is full. */
export const saysFull = (output: string): boolean => FULL.test(output);

export function noRoom(folder: string, freeBytes: number): string {
  const values = { folder, needed: gigabytes(NEEDED_BYTES), free: gigabytes(freeBytes) };
  return t('There is not enough disk space: Green Code needs at least {needed} in {folder} (on Linux up to 10 GB), and {free} are free. Make room there, then retry.', values);
}

/** What to do where Windows refuses a path of more than 260 characters, if pip's output says so. */
export function pathsTooLong(output: string): string | null {
  return output.includes('Windows Long Path support')
    ? t('Windows does not allow paths as long as those of the packages. Enable long paths in Windows (group policy "Enable Win32 long paths", or LongPathsEnabled in the registry), then retry.')
    : null;
}

/** Why the package index could not be reached, if that is what pip's output comes down to. */
export function unreachable(output: string, lastWords: string): string | null {
  const found = [...output.matchAll(UNREACHABLE)].at(-1);
  if (found === undefined || !NOTHING_FOUND.test(lastWords)) {
    return null;
  }
  const exception = found[1] ?? found[2] ?? '';
  const cause = SYSTEM_WORDS.exec(exception)?.[1]?.trim() ?? /^\w+/.exec(exception)?.[0] ?? exception;
  return t('The package index cannot be reached ({cause}). Check the network and the proxy, then retry: what was downloaded is kept.', { cause });
}
