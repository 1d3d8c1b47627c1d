/** Results of child processes, for tests that run none. */
import path from 'node:path';

import type { Run, RunResult } from '../../src/environment/processes';
import type { Home } from '../../src/environment/resolve';

export const ok = (stdout = ''): RunResult => ({ code: 0, stdout, stderr: '' });
export const failed = (stderr: string, code: number | null = 1): RunResult => ({ code, stdout: '', stderr });
/** For steps that must not run a process. */
export const never: Run = () => Promise.reject(new Error('nothing should be run'));
export const wheelIn = ({ bundled }: Home) => path.join(bundled, 'green_code-0.1.0-py3-none-any.whl');
