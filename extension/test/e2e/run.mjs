/**
 * End-to-end test of the packaged extension in a real workbench.
 *
 *   node extension/test/e2e/run.mjs --python PYTHON [--vsix FILE] [--stub | --set-up]
 *
 * PYTHON has green_code installed (with --stub: pygls is enough). With --set-up, the wheel in the VSIX is installed by Set Up,
 * with its dependencies, and it gets the model (300 MB, from pip's usual index). Without --vsix, one is packed first. Prints `ok - …` or
 * `not ok - …` per step and ends with `N passed, M failed`. If the workbench cannot be installed, the test is skipped; in CI
 * (environment variable CI) it fails.
 */
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { FrontLog, SCRIPTED } from './front.mjs';
import { daemonFolders, Workbench } from './harness.mjs';
import { chromium, install } from './install.mjs';
import { PackageIndex } from './packageIndex.mjs';
import { greenCodeProcesses, kill } from './processes.mjs';
import { steps } from './steps/all.mjs';

const HERE = import.meta.dirname;
const ROOT = path.resolve(HERE, '../../..');
const ARTIFACTS = path.join(HERE, 'artifacts');
const PROGRAM = `"""Three shapes."""


def square_area(side):
    return side * side


def circle_area(radius):
    return 3.14159 * radius * radius

`;

const { values: options } = parseArgs({
  options: {
    vsix: { type: 'string' },
    python: { type: 'string' },
    stub: { type: 'boolean', default: false },
    'set-up': { type: 'boolean', default: false },
  },
});

function skip(reason) {
  console.log(`${process.env.CI ? 'failed' : 'skipped'}: end-to-end tests: ${reason}`);
  process.exit(process.env.CI ? 1 : 0);
}

/** Packing needs no network: node_modules exists, because npm runs this. */
function pack(folder) {
  const file = path.join(folder, 'green-code.vsix');
  const flags = ['--no-dependencies', '--allow-missing-repository', '--no-rewrite-relative-links', '--skip-license'];
  const vsce = path.join(ROOT, 'node_modules', '@vscode', 'vsce', 'vsce');
  execFileSync(process.execPath, [vsce, 'package', ...flags, '-o', file], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  return file;
}

/**
 * A wheel of the stub. On PYTHONPATH it makes `python -m green_code lsp` the stub. Set Up can install it too, and then PYTHONPATH
 * must have no effect. pygls, which is pure Python, comes from PYTHON whatever interpreter runs.
 */
function stub(folder, index) {
  [folder, index].forEach((each) => fs.mkdirSync(each));
  const { version } = JSON.parse(fs.readFileSync(path.join(ROOT, 'package.json'), 'utf8'));
  const call = (...args) => execFileSync(options.python, args, { encoding: 'utf8' }).trim();
  const packages = call('-c', 'import pathlib, pygls; print(pathlib.Path(pygls.__file__).parent.parent)');
  const wheel = call(path.join(HERE, 'stub_wheel.py'), folder, version, packages, index);
  return { wheel, pythonPath: [wheel, packages].join(path.delimiter) };
}

/** Writes the calibration of a bundle, for the curves, the presets and the rows of the quick pick. */
function calibration(folder) {
  const model = path.join(folder, 'gemma-3-270m');
  const preset = (threshold, allowed_loss, saving) => ({ threshold, allowed_loss, confidence: 0.95, saving });
  const presets = { quality: preset(0.95, 0.01, 0.1), balanced: preset(0.8, 0.02, 0.2), saver: preset(0.6, 0.05, 0.3) };
  const points = [...Object.values(presets), preset(1, 0, 0)];
  const curve = points.map(({ threshold, saving }) => ({ threshold, saving, edit_similarity: 50 - 10 * saving }));
  const reference = { full: { edit_similarity: 50 } };
  const outcome = (stop, accepted, right, joules_per_character, rejected_per_100) => ({ stop, accepted, right, joules_per_character, rejected_per_100 });
  const stops = { eager: outcome(0.2, 0.41, 0.33, 0.32, 6.8), balanced: outcome(0.4, 0.44, 0.49, 0.2, 4.2), sure: outcome(0.6, 0.42, 0.63, 0.16, 2.5) };
  const suggestions = {
    reference: { files: 60, characters: 15000, energy_source: 'estimate' },
    always: outcome(0, 0.23, 0.13, 0.8, 10.5),
    curve: Object.values(stops),
    presets: stops,
  };
  fs.mkdirSync(model, { recursive: true });
  fs.writeFileSync(path.join(model, 'calibration.json'), JSON.stringify({ presets, curve, reference, suggestions }));
  return folder;
}

/** With --set-up, a link to the user's cache, in whose place Set Up finds an empty folder, as on a new machine. */
const cacheLink = (root) => path.join(root, 'cache');

function cacheVariables(root) {
  if (!options['set-up']) {
    return {};
  }
  fs.symlinkSync(process.env.GREEN_CODE_CACHE_DIR ?? path.join(os.homedir(), '.cache', 'green-code'), cacheLink(root));
  return { GREEN_CODE_CACHE_DIR: cacheLink(root) };
}

function environment(root, index) {
  if (!options.stub) {
    return { ...daemonFolders(root).env, ...cacheVariables(root), PYTHONPATH: [SCRIPTED, process.env.PYTHONPATH].filter(Boolean).join(path.delimiter) };
  }
  const { pythonPath } = stub(path.join(root, 'stub'), index.folder);
  return { ...daemonFolders(root).env, ...index.variables, GREEN_CODE_BUNDLES: calibration(path.join(root, 'bundles')), PYTHONPATH: pythonPath };
}

async function main() {
  if (!options.python) {
    skip('no interpreter given (--python)');
  }
  const browserPath = chromium();
  if (!browserPath) {
    skip('no Chromium (apt-get install chromium, or name one in GREEN_CODE_CHROMIUM)');
  }
  let tools;
  try {
    tools = install();
  } catch (error) {
    skip(`code-server could not be installed: ${error.message}`);
  }
  fs.rmSync(ARTIFACTS, { recursive: true, force: true });
  fs.mkdirSync(ARTIFACTS, { recursive: true });
  const temporary = fs.mkdtempSync(path.join(os.tmpdir(), 'green-code-vsix-'));
  const index = new PackageIndex(path.join(temporary, 'index'));
  const python = path.resolve(options.python);
  let workbench;
  let runtime;
  let front;
  let passed = 0;
  let failed = 0;
  try {
    await index.start(); // the server's environment contains its port
    workbench = await Workbench.open({
      tools,
      browserPath,
      vsix: options.vsix ? path.resolve(options.vsix) : pack(temporary),
      file: 'shapes.py',
      text: PROGRAM,
      machineSettings: { 'greenCode.pythonPath': python },
      prepare: (root) => environment(root, index),
    });
    runtime = path.join(workbench.root, 'runtime');
    front = new FrontLog(runtime);
    const context = {
      workbench,
      runtime,
      front,
      index,
      python,
      stub: options.stub,
      setUp: options['set-up'],
      cache: cacheLink(workbench.root),
      notes: {},
    };
    for (const { name, run, essential = false, when = () => true } of steps) {
      if (!when(context)) {
        continue;
      }
      const start = performance.now();
      try {
        const detail = await run(context);
        passed += 1;
        console.log(`ok - ${name}${detail ? ` (${detail})` : ''}, ${((performance.now() - start) / 1000).toFixed(1)} s`);
      } catch (error) {
        failed += 1;
        console.log(`not ok - ${name}: ${error.message}`);
        await workbench.picture(path.join(ARTIFACTS, `${name.replace(/[^a-z0-9]+/gi, '-').toLowerCase()}.png`));
      }
      if (essential && failed > 0) {
        break;
      }
    }
  } catch (error) {
    failed += 1;
    console.log(`not ok - the workbench: ${error.stack}`);
  } finally {
    if (workbench) {
      if (failed > 0 && fs.existsSync(path.join(workbench.profile, 'logs'))) {
        fs.cpSync(path.join(workbench.profile, 'logs'), path.join(ARTIFACTS, 'logs'), { recursive: true });
        fs.copyFileSync(front.file, path.join(ARTIFACTS, 'front.jsonl'));
      }
      await workbench.close();
      kill(greenCodeProcesses(runtime)); // an engine outlives its front by design
    }
    await index.stop();
    fs.rmSync(temporary, { recursive: true, force: true });
  }
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

await main();
