/**
 * Where a suggestion stands: what Tab leaves in the file, whatever the model has written. The texts are scripted; front and editor are
 * real. A step throws, or returns a detail to print.
 */
import assert from 'node:assert/strict';

import { ask, COMPLETION_MS } from './common.mjs';

/** `▌` is the cursor; `text` is the model's; `saved` is the file after Tab, or where nothing may be shown, the file as it was. */
const PYTHON = [
  { name: 'a call', code: 'import json\n\nvalues = json.loads(pa▌.read_text())\n', text: 'th)', saved: 'import json\n\nvalues = json.loads(path.read_text())\n' },
  { name: 'a condition', code: 'def has(self, name):\n    if name ▌:\n        return True\n', text: 'in self.items:', saved: 'def has(self, name):\n    if name in self.items:\n        return True\n' },
];

const JAVA = [
  { name: 'a statement', code: 'class Queue {\n    boolean empty() {\n        return items.▌;\n    }\n}\n', text: 'isEmpty();', saved: 'class Queue {\n    boolean empty() {\n        return items.isEmpty();\n    }\n}\n' },
];

async function tabLeaves({ workbench, front }, { name, code, text, saved }) {
  const [before, after] = code.split('▌');
  front.script([{ before, text }]);
  await workbench.replaceDocument(before, after);
  const mark = front.mark();
  await ask(workbench);
  const { answered } = await front.next(`${name}: an answer`, mark, (event) => 'answered' in event && !event.automatic, COMPLETION_MS);
  if (answered !== null) {
    await workbench.waitForGhost();
    await workbench.page.keyboard.press('Tab');
  }
  assert.equal(await workbench.saved(), saved, name);
}

const inMiddle = (language, file, cases) => ({
  name: `in the middle of a line of ${language}, Tab writes nothing twice`,
  when: ({ stub }) => !stub,
  run: async (context) => {
    await context.workbench.openFile(file, '');
    for (const each of cases) {
      await tabLeaves(context, each);
    }
    context.front.script([]);
    await context.workbench.command('View: Close Editor');
    return `${cases.length} places`;
  },
});

export const steps = [inMiddle('Python', 'middle.py', PYTHON), inMiddle('Java', 'Middle.java', JAVA)];
