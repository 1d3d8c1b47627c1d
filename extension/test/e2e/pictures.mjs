/**
 * Takes pictures of the extension, and sets them beside those of an earlier version.
 *
 *   node extension/test/e2e/pictures.mjs --python PYTHON --vsix FILE --to FOLDER [--only NAME,…] [--pairs BEFORE --images FOLDER]
 *
 * Writes NAME-1.png, NAME-2.png … to FOLDER. With --pairs, each is then set beside the one of the same name in BEFORE, and one image
 * per NAME is written to the folder of --images. Front, editor and engine are real; texts in the middle of a line are scripted.
 */
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { FrontLog, SCRIPTED } from './front.mjs';
import { daemonFolders, until, Workbench } from './harness.mjs';
import { chromium, install } from './install.mjs';
import { greenCodeProcesses, kill } from './processes.mjs';
import { ask, COMPLETION_MS, invoke, ITEM, ready, withSettings } from './steps/common.mjs';
import { text } from './texts.mjs';

const { values: options } = parseArgs({
  options: {
    python: { type: 'string' },
    vsix: { type: 'string' },
    to: { type: 'string' },
    only: { type: 'string' },
    pairs: { type: 'string' },
    images: { type: 'string' },
  },
});

const EXPECTED_MS = 20_000;

/** Places in code, with what the model writes there. */
const PLACES = {
  'middle-python': [
    ['config.py', 'import json\nfrom pathlib import Path\n\npath = Path("config.json")\nvalues = json.loads(pa▌.read_text())\n', 'th)'],
    ['shop.py', 'class Shop:\n    def has(self, name):\n        if name ▌:\n            return True\n', 'in self.items:'],
    ['cheap.py', 'class Shop:\n    def cheap(self, limit):\n        return [item for item in self▌ if item.price < limit]\n', '.items if item.price < limit]'],
  ],
  'middle-java': [
    ['Queue.java', 'class Queue {\n    int first() {\n        throw new NoSuchElementException("the▌")\n    }\n}\n', ' queue is empty");'],
    ['Items.java', 'class Items {\n    boolean empty() {\n        return items.▌;\n    }\n}\n', 'isEmpty();'],
  ],
  indentation: [
    ['sum.ts', 'export function sum(values: number[]): number {\n  let total = 0;\n  ▌\n  return total;\n}\n', 'for (const value of values) {\n      total += value;\n  }'],
    ['sign.py', 'def sign(number):\n    if number > 0:\n        return 1\n    ▌\n', '        else:'],
  ],
};

const BODY = 'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n';

const rows = async (context) => {
  const box = await context.workbench.editor().locator('.view-lines').boundingBox();
  return (count) => ({ x: box.x - 64, y: box.y, width: 660, height: count * 19 + 4 });
};

async function inPlace(context, name) {
  const { workbench, front, shoot } = context;
  for (const [file, code, raw] of PLACES[name]) {
    const [before, after] = code.split('▌');
    front.script([{ before, text: raw }]);
    await workbench.openFile(file, before + after); // the editor finds out how it is indented
    await workbench.replaceDocument(before, after);
    const mark = front.mark();
    await ask(workbench);
    const { answered } = await front.next('an answer', mark, (event) => 'answered' in event && !event.automatic, COMPLETION_MS);
    if (answered !== null) {
      await workbench.waitForGhost();
    }
    const clip = (await rows(context))(code.split('\n').length - 1 + raw.split('\n').length - 1);
    await shoot(name, clip);
    if (answered !== null) {
      await workbench.page.keyboard.press('Tab');
      await workbench.page.waitForTimeout(700);
    }
    await shoot(name, clip);
    await workbench.saved();
    await workbench.command('View: Close Editor');
  }
  front.script([]);
}

const boxOf = async (locator) => {
  const { x, y, width, height } = await locator.boundingBox();
  return { x: Math.max(0, x), y: Math.max(0, y), width, height };
};

const PICTURES = {
  'multi-line': async (context) => {
    const { workbench, front, shoot } = context;
    await workbench.openFile('fibonacci.py', '');
    await workbench.replaceDocument(BODY, '');
    const mark = front.mark();
    await ask(workbench);
    await front.next('an answer', mark, (event) => 'answered' in event && !event.automatic, COMPLETION_MS);
    await workbench.waitForGhost();
    await shoot('multi-line', (await rows(context))(13));
    await workbench.page.keyboard.press('Escape');
    await workbench.saved();
    await workbench.command('View: Close Editor');
  },
  layers: async (context) => {
    const { workbench, shoot } = context;
    await workbench.command('View: Toggle Primary Side Bar Visibility');
    await invoke(workbench, 'showLayers');
    const lines = workbench.page.locator('.monaco-editor[data-uri*="Layers"] .view-lines').first();
    await lines.waitFor({ timeout: EXPECTED_MS });
    await workbench.page.waitForTimeout(500);
    const { x, y } = await boxOf(lines);
    await shoot('layers', { x: x - 30, y, width: 540, height: 280 });
    await lines.click();
    await workbench.command('View: Close Editor');
    await workbench.command('View: Toggle Primary Side Bar Visibility');
  },
  'middle-python': (context) => inPlace(context, 'middle-python'),
  'middle-java': (context) => inPlace(context, 'middle-java'),
  indentation: async (context) => {
    await withSettings(context, { 'greenCode.languages': ['python', 'java', 'typescript'] }, () => inPlace(context, 'indentation'));
  },
  status: async ({ workbench, shoot }) => {
    await workbench.openFile('other.ts', 'export const one = 1;\n');
    await until('the language is known', () => workbench.page.locator('.statusbar-item', { hasText: 'TypeScript' }).count());
    await workbench.page.waitForTimeout(1000);
    const bar = await boxOf(workbench.page.locator('.part.statusbar'));
    await shoot('status', { ...bar, x: bar.width - 620, width: 620 });
    await workbench.command('View: Close Editor');
  },
  menu: async ({ workbench, shoot }) => {
    await workbench.page.locator(`[id="${ITEM}"] a`).first().click();
    await workbench.page.locator('.quick-input-list .monaco-list-row').first().waitFor();
    await shoot('menu', await boxOf(workbench.page.locator('.quick-input-widget')));
    await workbench.page.keyboard.press('Escape');
  },
  tooltip: async ({ workbench, shoot }) => {
    await workbench.page.locator(`[id="${ITEM}"] a`).first().hover();
    const tooltip = workbench.page.locator('.monaco-hover:visible').last();
    await tooltip.waitFor({ timeout: EXPECTED_MS });
    await workbench.page.waitForTimeout(500);
    await shoot('tooltip', await boxOf(tooltip));
    await workbench.page.mouse.move(600, 300);
  },
  threshold: async (context) => {
    const { workbench, shoot } = context;
    await invoke(workbench, 'setThreshold');
    for (const theme of ['Default Dark Modern', 'Default High Contrast']) {
      workbench.changeSettings({ 'workbench.colorTheme': theme });
      await workbench.page.locator(`.monaco-workbench.${theme.endsWith('Contrast') ? 'hc-black' : 'vs-dark'}`).waitFor();
      const frame = await workbench.webview('#threshold, #suggestions');
      const summary = frame.locator('#advanced > summary');
      if ((await summary.count()) > 0 && !(await frame.locator('#threshold').isVisible())) {
        await summary.click();
      }
      await workbench.page.waitForTimeout(800);
      const box = await boxOf(workbench.page.locator('.part.sidebar'));
      await shoot('threshold', theme.endsWith('Contrast') ? { ...box, height: 130 } : box);
    }
    workbench.changeSettings({ 'workbench.colorTheme': undefined });
    await workbench.page.locator('.monaco-workbench.vs-dark').waitFor();
  },
  report: async ({ workbench, shoot }) => {
    await workbench.command('View: Toggle Primary Side Bar Visibility');
    await invoke(workbench, 'energyReport');
    const frame = await workbench.webview('h1');
    await frame.locator('#refresh').waitFor();
    await workbench.page.waitForTimeout(1500);
    await frame.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    await shoot('report', await boxOf(workbench.page.locator('.part.editor')));
    await workbench.command('View: Close Editor');
  },
  walkthrough: async ({ workbench, shoot }) => {
    await workbench.command('Welcome: Open Walkthrough...');
    await workbench.choose(text('manifest.walkthrough.title'));
    await workbench.page.locator('.getting-started-step, .step-list-container').first().waitFor();
    await workbench.page.waitForTimeout(1500);
    const box = await boxOf(workbench.page.locator('.part.editor'));
    await shoot('walkthrough', { ...box, height: 480 });
    await workbench.command('View: Close Editor');
  },
  consent: async ({ workbench, shoot }) => {
    workbench.writeSettings('Machine', {});
    await invoke(workbench, 'setUp');
    const dialog = workbench.page.locator('.monaco-dialog-box');
    await dialog.waitFor();
    await shoot('consent', await boxOf(dialog));
    await workbench.page.keyboard.press('Escape');
  },
};

async function take(tools, browserPath) {
  fs.mkdirSync(options.to, { recursive: true });
  const names = options.only?.split(',') ?? Object.keys(PICTURES);
  let runtime;
  const workbench = await Workbench.open({
    tools,
    browserPath,
    vsix: path.resolve(options.vsix),
    file: 'areas.py',
    text: 'def square_area(side):\n    return side * side\n\n\ndef rectangle_area(width, height):\n    return',
    machineSettings: { 'greenCode.pythonPath': path.resolve(options.python) },
    prepare: (root) => {
      const { env } = daemonFolders(root);
      runtime = env.GREEN_CODE_RUNTIME_DIR;
      return { ...env, PYTHONPATH: [SCRIPTED, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter) };
    },
  });
  const taken = {};
  const context = {
    workbench,
    front: new FrontLog(runtime),
    shoot: async (name, clip) => {
      taken[name] = (taken[name] ?? 0) + 1;
      await workbench.page.waitForTimeout(300); // animations
      await workbench.page.screenshot({ path: path.join(options.to, `${name}-${taken[name]}.png`), clip });
    },
  };
  try {
    await ready(context);
    await workbench.page.keyboard.press('Control+End');
    await ask(workbench);
    await workbench.waitForGhost(COMPLETION_MS);
    await workbench.page.keyboard.press('Tab');
    await workbench.saved();
    for (const name of names) {
      await PICTURES[name](context).then(
        () => console.log(`taken: ${name}`),
        async (error) => {
          console.log(`not taken: ${name}: ${error.message.split('\n')[0]}`);
          await workbench.picture(path.join(options.to, `failed-${name}.png`));
          await workbench.page.keyboard.press('Escape');
        },
      );
    }
  } finally {
    await workbench.close();
    kill(greenCodeProcesses(runtime)); // an engine outlives its front by design
  }
}

const data = (file) => `data:image/png;base64,${fs.readFileSync(file, 'base64')}`;

const STYLE = 'body { margin: 0 } td { vertical-align: top; padding: 4px } h1 { font: 15px sans-serif; margin: 2px } img { margin: 2px; max-width: 900px }';
/** Wider ones stand one above the other. */
const BESIDE_AT_MOST = 700;

/** Draws each name's pictures before and after. */
async function pair(tools, browserPath) {
  const { chromium: browsers } = await import(tools.playwright);
  const browser = await browsers.launch({ executablePath: browserPath, args: ['--no-sandbox'] });
  const page = await browser.newPage({ viewport: { width: 2000, height: 1000 } });
  fs.mkdirSync(options.images, { recursive: true });
  const files = fs.readdirSync(options.to).filter((file) => /^[a-z-]+-\d+\.png$/.test(file) && !file.startsWith('failed'));
  for (const name of new Set(files.map((file) => file.replace(/-\d+\.png$/, '')))) {
    const images = (folder) =>
      files.filter((file) => file.startsWith(`${name}-`) && fs.existsSync(path.join(folder, file))).map((file) => `<img src="${data(path.join(folder, file))}">`).join('<br>');
    const cells = [['Before', options.pairs], ['After', options.to]].map(([title, folder]) => `<td><h1>${title}</h1>${images(folder)}</td>`);
    const draw = (separator) => page.setContent(`<style>${STYLE}</style><table><tr>${cells.join(separator)}</tr></table>`);
    await draw('');
    if ((await page.locator('img').first().boundingBox()).width > BESIDE_AT_MOST) {
      await draw('</tr><tr>');
    }
    await page.locator('table').screenshot({ path: path.join(options.images, `${name}.png`) });
  }
  await browser.close();
}

const tools = install();
if (options.vsix) {
  await take(tools, chromium());
}
if (options.pairs) {
  await pair(tools, chromium());
}
