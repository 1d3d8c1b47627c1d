import fs from 'node:fs'; import os from 'node:os'; import path from 'node:path';
import { daemonFolders, until, Workbench } from './harness.mjs'; import { chromium, install } from './install.mjs'; import { greenCodeProcesses, kill } from './processes.mjs';
const tools = install();
const python = '/work/main/.venv/bin/python';
const wb = await Workbench.open({ tools, browserPath: chromium(), vsix: '/work/main/green-code-0.1.0.vsix', file: 'inventory.py', text: '"""An inventory."""\n\nimport json\nfrom pathlib import Path\n\n', machineSettings: { 'greenCode.pythonPath': python }, prepare: (root) => daemonFolders(root).env });
const runtime = path.join(wb.root, 'runtime');
const log = [];
try {
  await wb.page.waitForTimeout(15000);
  await wb.page.keyboard.press('Control+End');
  const lines = process.argv[2] === 'ts' ? [] : ['\nclass Inventory:\n', 'def __init__(self, path):\n', 'self.path = Path(path)\n', 'self.items = {}\n', '\n', 'def load(self):\n', 'with self.path.open() as file:\n', 'self.items = json.load(file)\n', '\n', 'def add(self, name, count):\n', 'self.items[name] = self.items.get(name, 0) + count\n'];
  let shown = 0, right = 0, pauses = 0;
  for (const line of lines) {
    for (let i = 0; i < line.length; i++) {
      const key = line[i];
      if (key === '\n') await wb.page.keyboard.press('Enter'); else await wb.page.keyboard.type(key);
      await wb.page.waitForTimeout(/[a-z]/.test(key) ? 110 : 450);
      if (!/[a-z]/.test(key)) { pauses++; const g = await wb.hasGhost() ? await wb.ghost() : ''; if (g) { shown++; const rest = line.slice(i + 1).trimEnd(); if (rest.startsWith(g.trim().slice(0, 8)) ) right++; log.push(`${JSON.stringify(line.slice(0, i + 1))} -> ${JSON.stringify(g)}`); if (shown === 6) await wb.picture('/work/team/hand1.png'); } }
    }
    if (line === '\n') { await wb.page.keyboard.press('Shift+Tab'); }
    if (line.includes('json.load(file)')) await wb.page.keyboard.press('Shift+Tab');
  }
  await wb.picture('/work/team/hand2.png');
  console.log(log.join('\n')); console.log({ pauses, shown, right });
  console.log(await wb.saved?.());
} finally { await wb.close(); kill(greenCodeProcesses(runtime)); }
