/** What the output of pip and doctor means to the user. Must not use the editor's API. */
import { t } from '../l10n';
import type { Step } from './progress';

/** Bytes on disk per byte of a package, about: 5 for most, 2 for PyTorch. */
const UNPACKED = 3;
const UNITS: Readonly<Record<string, number>> = { kB: 1e3, MB: 1e6, GB: 1e9 };
/** A smaller download is over before its progress can be read. */
const LEAST_BYTES = 50e6;

/** Reads pip's output line by line. */
export class PipOutput {
  private packagesBytes = 0;

  /** A line as a step to show, or null. */
  step(line: string): Step | null {
    const got = /^\s*(Downloading|Using cached) (\S+?)-\d\S* \(([\d.]+) (kB|MB|GB)\)/.exec(line);
    if (got) {
      const [, how, name = '', size = '', unit = ''] = got;
      const bytes = Number(size) * (UNITS[unit] ?? 1);
      this.packagesBytes += bytes;
      return { text: how === 'Downloading' ? t('setUp.downloading', { name }) : t('setUp.collecting', { name }), bytes: bytes < LEAST_BYTES ? null : bytes };
    }
    const collecting = /^Collecting ([\w.-]+)/.exec(line);
    if (collecting) {
      return { text: t('setUp.collecting', { name: collecting[1] ?? '' }), bytes: null };
    }
    if (line.includes('WARNING: Retrying')) {
      return { text: t('setUp.retrying'), bytes: null };
    }
    return line.startsWith('Installing collected packages') ? { text: t('setUp.installingPackages'), bytes: UNPACKED * this.packagesBytes } : null;
  }
}

/** What `doctor --json` found wrong and how to fix it, in one line; null if this is not its output, or nothing is wrong. */
export function doctorProblem(output: string): string | null {
  try {
    const { checks } = JSON.parse(output) as { checks: { check: string; level: string; found: string; fix: string }[] };
    const failed = checks.filter(({ level }) => level === 'fail');
    return failed.length === 0 ? null : failed.map(({ check, found, fix }) => `${check}: ${found}. ${fix}`.trim()).join(' ');
  } catch {
    return null;
  }
}
