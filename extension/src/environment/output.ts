/** What the output of pip and doctor means to the user. Must not use the editor's API. */
import { t } from '../l10n';

/** A line of pip's output as a step to show, or null. */
export function pipStep(line: string): string | null {
  const downloading = /^\s*Downloading (\S+?)-\d\S* \((.+)\)/.exec(line);
  if (downloading) {
    return t('setUp.downloading', { name: downloading[1] ?? '', size: downloading[2] ?? '' });
  }
  const collecting = /^Collecting ([\w.-]+)/.exec(line);
  if (collecting) {
    return t('setUp.collecting', { name: collecting[1] ?? '' });
  }
  if (line.includes('WARNING: Retrying')) {
    return t('setUp.retrying');
  }
  return line.startsWith('Installing collected packages') ? t('setUp.installingPackages') : null;
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
