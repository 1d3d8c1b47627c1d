/** The environment variables of child processes. Must not know: the editor's API. */
import { VARIABLE } from './bundles';

/** What Python writes is read as UTF-8; on Windows it would write a pipe in the system's code page. */
const UTF8 = { PYTHONIOENCODING: 'utf-8' };

/** For the environment that Set Up made: what the user set for other Pythons would put their packages before its own. */
export function managedVariables(environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...Object.fromEntries(Object.entries(environment).filter(([name]) => !/^PYTHON(PATH|HOME)$/i.test(name))), ...UTF8 };
}

/** For what makes that environment: pip unpacks in a folder that is removed with it, also where pip is killed. */
export function makingVariables(temporary: string, environment: NodeJS.ProcessEnv = process.env): NodeJS.ProcessEnv {
  return { ...managedVariables(environment), TMPDIR: temporary, TEMP: temporary, TMP: temporary };
}

/** For the daemon. An interpreter that the user named runs as it does in his terminal. */
export function daemonVariables(origin: 'setting' | 'managed', bundles: string, environment = process.env): NodeJS.ProcessEnv {
  return { ...(origin === 'managed' ? managedVariables(environment) : environment), ...UTF8, [VARIABLE]: bundles };
}
