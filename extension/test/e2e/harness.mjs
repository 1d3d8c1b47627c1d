/**
 * A VS Code workbench that a test can control: code-server with one extension in a profile of its own, in a headless browser.
 *
 * All files are in one temporary folder; `close()` ends all processes and removes it. The document is only read from the saved
 * file: in the page, text and ghost text look alike.
 */
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';

/** A quiet workbench: no welcome page, no chat, no other suggestions, no text inserted by the editor, no server for TypeScript. */
const QUIET = {
  'workbench.startupEditor': 'none',
  'workbench.secondarySideBar.defaultVisibility': 'hidden',
  'workbench.colorTheme': 'Default Dark Modern',
  'chat.disableAIFeatures': true,
  'security.workspace.trust.enabled': false,
  'telemetry.telemetryLevel': 'off',
  'update.mode': 'none',
  'extensions.autoUpdate': false,
  'extensions.autoCheckUpdates': false,
  'extensions.ignoreRecommendations': true,
  'git.enabled': false,
  'files.autoSave': 'off',
  'editor.inlineSuggest.enabled': true,
  'editor.quickSuggestions': { other: 'off', comments: 'off', strings: 'off' },
  'editor.suggestOnTriggerCharacters': false,
  'editor.wordBasedSuggestions': 'off',
  'editor.parameterHints.enabled': false,
  'editor.autoClosingBrackets': 'never',
  'editor.autoClosingQuotes': 'never',
  'editor.autoIndent': 'none',
  'js/ts.validate.enabled': false,
  'js/ts.tsserver.useSyntaxServer': 'always',
  'js/ts.tsserver.automaticTypeAcquisition.enabled': false,
};

/** Variables of the shell that would change code-server's behaviour. */
const UNWANTED = ['PORT', 'PASSWORD', 'HASHED_PASSWORD', 'VSCODE_IPC_HOOK_CLI'];

const GHOST = '.ghost-text-decoration, .suggest-preview-text .view-line';
/** For the palette to list a command and to run it. */
const COMMAND_MS = 6_000;

export const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** Polls until the result is truthy, and returns it. Throws after `timeoutMs`. */
export async function until(what, poll, timeoutMs = 20_000) {
  const end = performance.now() + timeoutMs;
  for (;;) {
    const result = await poll();
    if (result) {
      return result;
    }
    if (performance.now() > end) {
      throw new Error(`${what}: not within ${timeoutMs / 1000} s`);
    }
    await pause(100);
  }
}

function freePort() {
  return new Promise((resolve, reject) => {
    const probe = net.createServer().once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

/** Folders for the daemon of a test, and the variables that name them. */
export function daemonFolders(root) {
  const [runtime, data] = ['runtime', 'data'].map((name) => path.join(root, name));
  [runtime, data].forEach((folder) => fs.mkdirSync(folder, { mode: 0o700 }));
  return { runtime, data, env: { GREEN_CODE_RUNTIME_DIR: runtime, GREEN_CODE_DATA_DIR: data } };
}

export class Workbench {
  /** `prepare` receives the root before anything starts, and returns variables for the environment. */
  static async open({ tools, browserPath, vsix, file, text, machineSettings, prepare }) {
    const workbench = new Workbench(fs.mkdtempSync(path.join(os.tmpdir(), 'green-code-e2e-')), file);
    try {
      workbench.writeProfile({ text, machineSettings });
      workbench.prepareServer({ tools, env: prepare(workbench.root) });
      workbench.callServer('--install-extension', vsix);
      await workbench.startServer();
      await workbench.openPage(tools, browserPath);
      return workbench;
    } catch (error) {
      await workbench.close();
      throw error;
    }
  }

  constructor(root, file) {
    this.root = root;
    this.profile = path.join(root, 'profile');
    this.folder = path.join(root, 'project');
    this.file = path.join(this.folder, file);
  }

  writeProfile({ text, machineSettings }) {
    for (const folder of [this.folder, path.join(this.profile, 'User'), path.join(this.profile, 'Machine')]) {
      fs.mkdirSync(folder, { recursive: true });
    }
    fs.writeFileSync(this.file, text);
    this.writeSettings('User', QUIET);
    this.writeSettings('Machine', machineSettings);
  }

  settingsFile(scope) {
    return path.join(this.profile, scope, 'settings.json');
  }

  writeSettings(scope, settings) {
    fs.writeFileSync(this.settingsFile(scope), JSON.stringify(settings, null, 2));
  }

  /** The value on disk; undefined while the editor is writing the file. */
  userSetting(key) {
    return this.setting('User', key);
  }

  /** Of `User` or `Machine`. */
  setting(scope, key) {
    try {
      return JSON.parse(fs.readFileSync(this.settingsFile(scope), 'utf8'))[key];
    } catch {
      return undefined;
    }
  }

  /**
   * Changes some settings of the machine, which come before the user's; undefined removes one. The editor sees changes of this file,
   * but not all changes of the user's that it has not made itself.
   */
  changeSettings(changes) {
    this.writeSettings('Machine', { ...JSON.parse(fs.readFileSync(this.settingsFile('Machine'), 'utf8')), ...changes });
  }

  prepareServer({ tools, env }) {
    const environment = { ...process.env, ...env, EXTENSIONS_GALLERY: '{}', XDG_CONFIG_HOME: path.join(this.root, 'config') };
    UNWANTED.forEach((name) => delete environment[name]);
    const folders = ['--user-data-dir', this.profile, '--extensions-dir', path.join(this.root, 'extensions')];
    this.serverCommand = { node: tools.node, args: [tools.codeServer, ...folders], env: environment };
  }

  /** code-server as a command that ends, such as `--install-extension`. */
  callServer(...args) {
    const { node, args: always, env } = this.serverCommand;
    execFileSync(node, [...always, ...args], { env, stdio: 'pipe' });
  }

  async startServer() {
    const { node, args, env } = this.serverCommand;
    const port = await freePort();
    const log = path.join(this.root, 'server.log');
    const output = fs.openSync(log, 'a');
    const flags = ['--disable-telemetry', '--disable-update-check', '--disable-workspace-trust', '--disable-getting-started-override'];
    this.server = spawn(
      node,
      [...args, '--auth', 'none', '--bind-addr', `127.0.0.1:${port}`, ...flags],
      { env, stdio: ['ignore', output, output], detached: true }, // a process group of its own, with the extension host
    );
    fs.closeSync(output);
    this.serverEnded = new Promise((resolve) => this.server.once('exit', resolve));
    this.url = `http://127.0.0.1:${port}`;
    this.authority = `127.0.0.1:${port}`;
    await until('code-server answers', async () => {
      if (this.server.exitCode !== null) {
        throw new Error(`code-server ended: ${fs.readFileSync(log, 'utf8')}`);
      }
      return fetch(`${this.url}/healthz`).then((response) => response.ok, () => false);
    });
  }

  async openPage(tools, browserPath) {
    const { chromium } = await import(tools.playwright);
    this.browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
    this.page = await this.browser.newPage({ viewport: { width: 1280, height: 800 } });
    await this.visit();
  }

  /** Opens the project in the page, on the running server. */
  async visit() {
    const address = new URL(this.url);
    const opened = [['openFile', `vscode-remote://${this.authority}${this.file}`]];
    address.searchParams.set('folder', this.folder);
    address.searchParams.set('payload', JSON.stringify(opened));
    await this.page.goto(address.href);
    await this.editor().locator('.view-line').first().waitFor({ timeout: 60_000 });
  }

  /** Ends the server and its child processes, extension hosts included. */
  async stopServer() {
    if (this.server?.pid !== undefined) {
      this.signal('SIGTERM');
      await Promise.race([this.serverEnded, pause(5000)]);
      this.signal('SIGKILL');
    }
  }

  async close() {
    await this.browser?.close();
    await this.stopServer();
    fs.rmSync(this.root, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }

  signal(name) {
    try {
      process.kill(-this.server.pid, name);
    } catch {
      // the whole group has ended
    }
  }

  // --- the editor ---

  editor() {
    return this.page.locator(`.monaco-editor[data-uri$="/${path.basename(this.file)}"]`);
  }

  /** Opens another file of the project, which the test then types into. */
  async openFile(name, text) {
    await this.quickOpen(name, text);
    await this.editor().locator('.view-line').first().waitFor({ timeout: 15_000 });
  }

  async openNotebook(name, text) {
    await this.quickOpen(name, text);
    await this.page.locator('.notebookOverlay .cell .monaco-editor').first().waitFor({ timeout: 30_000 });
  }

  async quickOpen(name, text) {
    this.file = path.join(this.folder, name);
    fs.writeFileSync(this.file, text);
    const row = this.page.locator('.quick-input-list .monaco-list-row', { hasText: name }).first();
    await until(`the editor finds ${name}`, async () => {
      await this.page.keyboard.press('Escape');
      await this.page.keyboard.press('Control+P');
      await this.page.locator('.quick-input-widget:visible input').first().fill(name);
      return row.waitFor({ timeout: 1500 }).then(() => true, () => false); // it searches the files that it knew when it was opened
    });
    await row.click();
  }

  /** Adds a line at the end of the file, whatever was shown or selected before. */
  async newLine() {
    await this.editor().click({ position: { x: 150, y: 150 } }); // a tooltip may cover the middle
    await this.page.keyboard.press('Escape');
    await this.page.keyboard.press('Control+End');
    await this.page.keyboard.press('Enter');
  }

  /** Inserts text at once, as a paste does: nothing is closed or indented. */
  async insert(text) {
    await this.page.keyboard.insertText(text);
  }

  /** Replaces the document, and puts the cursor between the two texts. */
  async replaceDocument(before, after) {
    const { keyboard } = this.page;
    await keyboard.press('Escape');
    await keyboard.press('Control+A');
    await this.insert(before + after);
    for (let left = [...after].length; left > 0; left -= 1) {
      await keyboard.press('ArrowLeft');
    }
  }

  async type(text) {
    await this.page.keyboard.type(text, { delay: 40 });
  }

  waitForGhost(timeout = 20_000) {
    return this.page.locator(GHOST).filter({ visible: true }).first().waitFor({ timeout }); // the editor keeps hidden ones
  }

  async hasGhost() {
    return (await this.page.locator(GHOST).filter({ visible: true }).count()) > 0;
  }

  /** The suggestion: its part of the current line, then its further lines. */
  ghost() {
    return this.page.evaluate(() => {
      const textOf = (nodes) => nodes.map((node) => node.textContent).join('').replaceAll('\u00a0', ' ');
      const first = textOf([...document.querySelectorAll('.view-lines .ghost-text-decoration')]);
      const further = [...document.querySelectorAll('.suggest-preview-text .view-line')]
        .sort((one, other) => parseInt(one.style.top, 10) - parseInt(other.style.top, 10))
        .map((line) => textOf([line]));
      return [first, ...further].join('\n');
    });
  }

  /** Saves the file, and returns its text on disk. First its tab must be in front: one that is being closed would count as saved. */
  async saved() {
    const tab = `.tab.active[data-resource-name="${path.basename(this.file)}"]`;
    await this.page.locator(tab).first().waitFor({ timeout: 10_000 });
    await this.page.keyboard.press('Control+S');
    await this.page.locator(`${tab}:not(.dirty)`).first().waitFor({ timeout: 10_000 });
    return fs.readFileSync(this.file, 'utf8');
  }

  // --- the rest of the workbench ---

  /** Text and accessible label of a status item, or null if there is none. */
  status(id) {
    return this.page.evaluate((name) => {
      const item = document.getElementById(name);
      const label = item?.querySelector('a')?.getAttribute('aria-label') ?? item?.getAttribute('aria-label') ?? '';
      return item && { text: item.textContent.replaceAll('\u00a0', ' ').trim(), label };
    }, id);
  }

  /** Runs a command by its exact title: another one may begin with the same words. What takes the focus closes the palette; it opens again. */
  async command(title) {
    await until(`the palette runs ${title}`, async () => {
      await this.page.keyboard.press('F1');
      const chosen = this.choose(title, { exact: true, prefix: '>', timeout: COMMAND_MS });
      return chosen.then(() => true).catch((error) => error.name !== 'TimeoutError' && Promise.reject(error));
    });
  }

  /** Filters the open quick input and selects a row. With `title`: waits for the input with that title. */
  async choose(label, { exact = false, title = '', prefix = '', timeout = 15_000 } = {}) {
    const input = this.page.locator('.quick-input-widget:visible', { hasText: title }).locator('input').first();
    await input.waitFor({ timeout });
    await input.fill(prefix + label, { timeout });
    const row = this.page.locator('.quick-input-list .monaco-list-row', {
      has: this.page.locator('.label-name', { hasText: exact ? new RegExp(`^${escape(label)}$`) : label }),
    });
    await row.first().waitFor({ timeout });
    await row.first().click({ timeout });
  }

  /** Replaces the text of the open input box, and confirms. */
  async enter(value, prompt) {
    const input = this.page.locator('.quick-input-widget:visible', { hasText: prompt }).locator('input').first();
    await input.fill(value);
    await input.press('Enter');
  }

  /** The content of the web view that contains the element. */
  async webview(selector, timeoutMs = 30_000) {
    return until(
      `a web view with ${selector}`,
      async () => {
        for (const frame of this.page.frames()) {
          if ((await frame.locator(selector).count().catch(() => 0)) > 0) {
            return frame;
          }
        }
        return null;
      },
      timeoutMs,
    );
  }

  /** The folder of the installed extension. */
  extensionFolder(prefix) {
    const extensions = path.join(this.root, 'extensions');
    return path.join(extensions, fs.readdirSync(extensions).find((name) => name.startsWith(prefix)));
  }

  /** Writes a screenshot to a file. */
  async picture(file) {
    await this.page.screenshot({ path: file });
  }

  /** The colour of a point on the page: red, green and blue from 0 to 255. */
  async colorAt(x, y) {
    const png = await this.page.screenshot({ clip: { x, y, width: 1, height: 1 } });
    return this.page.evaluate(async (base64) => {
      const bytes = Uint8Array.from(window.atob(base64), (character) => character.charCodeAt(0));
      const context = new window.OffscreenCanvas(1, 1).getContext('2d');
      context.drawImage(await window.createImageBitmap(new window.Blob([bytes])), 0, 0);
      return [...context.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    }, png.toString('base64'));
  }

  notification(text) {
    return this.page.locator('.notification-list-item', { hasText: text }).first();
  }

  async dismissNotifications() {
    await this.command('Notifications: Clear All Notifications');
  }
}

const escape = (text) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');
