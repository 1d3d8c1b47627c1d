import { describe, expect, it } from 'vitest';

import { candidates, findInterpreter, isRecent, noInterpreterMessage } from '../../src/environment/interpreter';
import type { Run, RunResult } from '../../src/environment/processes';
import { t } from '../../src/l10n';
import { failed, ok } from './results';

describe('the search for a Python', () => {
  const table = (answers: Readonly<Record<string, RunResult>>): Run => (command) =>
    Promise.resolve(answers[command] ?? failed('ENOENT', null));

  it('finds the first one that is recent enough', async () => {
    const run = table({ python3: ok('3.9\n'), 'python3.12': ok('3.12\n') });
    const { found, rejected } = await findInterpreter('/', run, 'linux');
    expect(found?.command).toBe('python3.12');
    expect(rejected).toEqual(['python3 is Python 3.9']);
  });

  it('explains a missing venv module', async () => {
    const { found, rejected } = await findInterpreter('/', table({ python3: failed("No module named 'ensurepip'") }), 'linux');
    expect(found).toBeNull();
    expect(noInterpreterMessage(rejected)).toContain('install python3-venv');
    expect(noInterpreterMessage([])).toBe(t('python.notFound', { oldest: '3.10' }));
  });

  it('tries the launcher first on Windows', () => {
    expect(candidates('win32')[0]).toEqual({ command: 'py', args: ['-3'] });
  });

  it('compares versions as numbers', () => {
    expect(['3.9', '3.10', '3.14', '2.7', '4.0', ''].map(isRecent)).toEqual([false, true, true, false, true, false]);
  });
});
