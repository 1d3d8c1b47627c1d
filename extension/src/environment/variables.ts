/** The environment variables of child processes. Must not use the editor's API. */
import { VARIABLE } from './bundles';
import type { Ready } from './resolve';

/** Python's output is read as UTF-8; on Windows it would write the system's code page to a pipe. */
const UTF8 = { PYTHONIOENCODING: 'utf-8' };

/** For the managed environment: variables for other Pythons would put their packages before its own. */
export function managedVariables(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...Object.fromEntries(Object.entries(environment).filter(([name]) => !/^PYTHON(PATH|HOME)$/i.test(name))), ...UTF8 };
}

/** For creating that environment: pip unpacks in a folder that is removed with the attempt, even where pip is killed. */
export function creationVariables(temporary: string, environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...managedVariables(environment), TMPDIR: temporary, TEMP: temporary, TMP: temporary };
}

/** For the daemon. A configured interpreter runs as it does in the user's terminal. */
export function daemonVariables(origin: Ready['origin'], bundles: string, environment = process.env): NodeJS.ProcessEnv {
  return { ...(origin === 'managed' ? managedVariables(environment) : environment), ...UTF8, [VARIABLE]: bundles };
}
