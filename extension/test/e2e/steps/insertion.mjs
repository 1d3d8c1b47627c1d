/**
 * Where a suggestion stands: what Tab leaves in the file, whatever the model has written. The texts are scripted, front and editor are
 * real. A step throws, or returns a detail to print.
 */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';

import { until } from '../harness.mjs';
import { answerBehind, answerByHand, COMPLETION_MS, withSettings } from './common.mjs';

const isReal = ({ stub }) => !stub;

/** `▌` is the cursor, `text` the model's, and `saved` the file after Tab. */
const PYTHON = [
  { code: 'values = json.loads(pa▌.read_text())\n', text: 'th)', saved: 'values = json.loads(path.read_text())\n' },
  { code: 'def has(self, name):\n    if name ▌:\n        return True\n', text: 'in self.items:', saved: 'def has(self, name):\n    if name in self.items:\n        return True\n' },
  { code: 'cheap = [item for item in self▌ if item.price < limit]\n', text: '.items if item.price < limit]', saved: 'cheap = [item for item in self.items if item.price < limit]\n' },
  { code: 'spread = (min▌, max(prices))\n', text: '(prices), max(prices))', saved: 'spread = (min(prices), max(prices))\n' },
  { code: 'größe = 3\numfang = 4 * grö▌\n', text: 'ße', saved: 'größe = 3\numfang = 4 * größe\n' },
  { code: 'gruß = "😀 Grüße"\nlänge = len(gr▌) + 1\n', text: 'uß)', saved: 'gruß = "😀 Grüße"\nlänge = len(gruß) + 1\n' },
];

const JAVA = [
  { code: 'class Queue {\n    boolean empty() {\n        return items.▌;\n    }\n}\n', text: 'isEmpty();', saved: 'class Queue {\n    boolean empty() {\n        return items.isEmpty();\n    }\n}\n' },
  {
    code: 'class Queue {\n    int first() {\n        throw new NoSuchElementException("the▌");\n    }\n}\n',
    text: ' queue is empty");',
    saved: 'class Queue {\n    int first() {\n        throw new NoSuchElementException("the queue is empty");\n    }\n}\n',
  },
];

/** The two-space file is indented with two spaces, whatever the model is used to. */
export const TYPESCRIPT = [
  {
    code: 'export function sum(values: number[]): number {\n  let total = 0;\n  ▌\n  return total;\n}\n',
    text: 'for (const value of values) {\n      total += value;\n  }',
    saved: 'export function sum(values: number[]): number {\n  let total = 0;\n  for (const value of values) {\n    total += value;\n  }\n  return total;\n}\n',
  },
];

/** The scripted text for the cursor is asked for by hand, and accepted. */
export async function acceptEach(context, file, cases) {
  const { workbench, front } = context;
  await inFile(context, file, cases[0].code.replace('▌', ''), async () => {
    for (const { code, text, saved } of cases) {
      const [before, after] = code.split('▌');
      front.script([{ before, text }]);
      await workbench.replaceDocument(before, after);
      await answerByHand(context);
      await workbench.waitForGhost();
      await workbench.page.keyboard.press('Tab');
      assert.equal(await workbench.saved(), saved);
    }
  });
  return `${cases.length} places`;
}

/** Opens a file, and afterwards the former one again. */
export async function inFile({ workbench, front }, file, text, work) {
  const former = workbench.file;
  await workbench.openFile(file, text);
  try {
    await work();
  } finally {
    front.script([]);
    await workbench.command('View: Revert and Close Editor');
    workbench.file = former;
  }
}

/** On an empty line, what begins with white space would take Tab away: it is not shown, and Tab indents. What stands there is shown. */
export const tabIndents = (context, file, code, indentation, text) =>
  inFile(context, file, `${code}\n`, async () => {
    const { workbench, front } = context;
    const { keyboard } = workbench.page;
    front.script([{ before: `${code}\n`, text: `${indentation}${text}` }, { before: `${code}\n${indentation}`, text }]);
    await keyboard.press('Control+End');
    await keyboard.press('Backspace');
    const mark = front.mark();
    await keyboard.press('Enter');
    const { answered } = await answerBehind(context, mark, '');
    assert.equal(answered, null);
    await keyboard.press('Tab');
    await workbench.waitForGhost();
    assert.equal(await workbench.saved(), `${code}\n${indentation}`);
    await keyboard.press('Tab');
    assert.equal(await workbench.saved(), `${code}\n${indentation}${text}`);
  });

/** Types with the brackets and quotes that the editor closes, and accepts what comes by itself. */
const typedWithClosers = (context, file, code, typed, text, saved) =>
  inFile(context, file, code, async () => {
    const { workbench, front } = context;
    front.script([{ before: typed, text }]);
    await workbench.page.keyboard.press('Control+End');
    await workbench.type(typed);
    await workbench.waitForGhost();
    await workbench.page.keyboard.press('Tab');
    assert.equal(await workbench.saved(), `${code}${saved}`);
  });

export const steps = [
  {
    name: 'in the middle of a line of Python, Tab writes nothing twice, also behind umlauts',
    when: isReal,
    run: (context) => acceptEach(context, 'middle.py', PYTHON),
  },
  {
    name: 'in the middle of a line of Java, Tab writes nothing twice',
    when: isReal,
    run: (context) => acceptEach(context, 'Middle.java', JAVA),
  },
  {
    name: 'brackets and quotes that the editor closes stay balanced',
    when: isReal,
    run: (context) =>
      withSettings(context, { 'editor.autoClosingBrackets': 'always', 'editor.autoClosingQuotes': 'always' }, async () => {
        await typedWithClosers(context, 'closed.py', 'import math\n', 'print(math.sqrt(', 'value))', 'print(math.sqrt(value))');
        await typedWithClosers(context, 'closed2.py', 'names = {}\n', 'print(names["the', ' first"])', 'print(names["the first"])');
        await typedWithClosers(context, 'Closed.java', '', 'throw new IllegalStateException("the', ' queue is empty");', 'throw new IllegalStateException("the queue is empty");');
      }),
  },
  {
    name: 'Tab on an empty line indents, and there accepts',
    when: isReal,
    run: (context) => tabIndents(context, 'empty.py', 'def total(prices):', '    ', 'return sum(prices)'),
  },
  {
    name: 'a text that Escape rejects does not return on its line',
    when: isReal,
    run: (context) =>
      inFile(context, 'rejected.py', 'def area(width, height):\n', async () => {
        const { workbench, front } = context;
        const line = '    return';
        front.script([line, `${line} `, `${line}  `].map((before, typed) => ({ before, text: ' width * height'.slice(Math.min(typed, 1)) })));
        await workbench.page.keyboard.press('Control+End');
        await workbench.insert('    ');
        await workbench.type('return');
        await workbench.waitForGhost();
        await workbench.page.keyboard.press('Escape');
        await until('it is gone', async () => !(await workbench.hasGhost()));
        const mark = front.mark();
        await workbench.type(' ');
        const { answered, reason } = await answerBehind(context, mark, `${line} `);
        assert.deepEqual({ answered, reason }, { answered: null, reason: 'dismissed' });
        assert.equal(await workbench.hasGhost(), false);
        await answerByHand(context); // who asks gets it
        await workbench.waitForGhost();
        await workbench.page.keyboard.press('Tab');
        assert.equal(await workbench.saved(), 'def area(width, height):\n    return width * height');
      }),
  },
  {
    name: 'by hand there are alternatives: Alt+] shows the next one',
    when: isReal,
    run: (context) =>
      inFile(context, 'alternatives.py', 'def area(width, height):\n', async () => {
        const { workbench, front } = context;
        front.script([{ before: '    return ', text: 'width * height', alternatives: ['height * width', 'width'] }]);
        await workbench.page.keyboard.press('Control+End');
        await workbench.insert('    return ');
        await answerByHand(context);
        await workbench.waitForGhost();
        const first = (await workbench.ghost()).split('\n')[0];
        await workbench.page.keyboard.press('Alt+]');
        const second = await until('another text', async () => {
          const shown = (await workbench.ghost()).split('\n')[0];
          return shown !== '' && shown !== first ? shown : null;
        });
        assert.ok(['height * width', 'width'].includes(second), second);
        await workbench.page.keyboard.press('Tab');
        assert.equal(await workbench.saved(), `def area(width, height):\n    return ${second}`);
      }),
  },
  {
    name: 'the body of a function ends with the function, and is Python',
    when: isReal,
    run: (context) =>
      inFile(context, 'body.py', '', async () => {
        const { workbench, python } = context;
        const head = 'def fibonacci(n):\n    """Return the n-th Fibonacci number."""\n'; // after which this model goes on with further functions
        await workbench.replaceDocument(head, '');
        await answerByHand(context);
        await workbench.waitForGhost();
        await workbench.page.keyboard.press('Tab'); // to where the ghost begins
        await workbench.waitForGhost();
        await workbench.page.keyboard.press('Tab');
        const saved = await workbench.saved();
        assert.ok(saved.startsWith(head) && saved === saved.trimEnd(), saved);
        assert.ok(saved.slice(head.length).split('\n').every((line) => line === '' || line.startsWith('    ')), saved);
        execFileSync(python, ['-c', 'import ast, sys; ast.parse(open(sys.argv[1]).read())', workbench.file]);
        return JSON.stringify(saved.slice(head.length));
      }),
  },
  {
    name: "the editor's own list and a suggestion live together: Tab takes the entry, Tab again the rest",
    when: isReal,
    run: (context) => {
      const settings = { 'editor.quickSuggestions': { other: 'on', comments: 'off', strings: 'off' }, 'editor.wordBasedSuggestions': 'currentDocument' };
      return withSettings(context, settings, () =>
        inFile(context, 'list.py', 'def rectangle_area(width, height):\n    return width * height\n\n\nprint(', async () => {
          const { workbench, front } = context;
          const { keyboard } = workbench.page;
          front.script([{ before: 'print(rectangle_area', text: '(2, 3))' }]);
          await keyboard.press('Control+End');
          await workbench.type('rect');
          await workbench.page.locator('.suggest-widget.visible .monaco-list-row.focused', { hasText: 'rectangle_area' }).waitFor();
          await workbench.waitForGhost(COMPLETION_MS);
          await keyboard.press('Tab');
          await workbench.page.locator('.suggest-widget.visible').waitFor({ state: 'hidden' });
          await workbench.waitForGhost();
          await keyboard.press('Tab');
          assert.equal((await workbench.saved()).split('\n').at(-1), 'print(rectangle_area(2, 3))');
        }),
      );
    },
  },
  {
    name: 'in a notebook, a suggestion knows the other cells',
    when: isReal,
    run: async (context) => {
      const { workbench, front } = context;
      const cell = (source) => ({ cell_type: 'code', execution_count: null, metadata: {}, outputs: [], source: [source] });
      const notebook = { cells: [cell('def rectangle_area(width, height):\n    return width * height'), cell('room')], metadata: { language_info: { name: 'python' } }, nbformat: 4, nbformat_minor: 5 };
      const former = workbench.file;
      front.script([{ before: 'room = rect', text: 'angle_area(2, 3)' }]);
      try {
        await workbench.openNotebook('rooms.ipynb', JSON.stringify(notebook));
        await workbench.page.locator('.notebookOverlay .cell .monaco-editor', { hasText: 'room' }).locator('.view-lines').click();
        await workbench.page.keyboard.press('Control+End');
        const mark = front.mark();
        await workbench.type(' = rect');
        await workbench.waitForGhost(COMPLETION_MS);
        const { asked } = await front.next('a request', mark, (event) => event.asked?.endsWith('room = rect'));
        assert.ok(asked.includes('def rectangle_area(width, height):'), asked);
        await workbench.page.keyboard.press('Tab');
        const saved = JSON.parse(await workbench.saved());
        assert.equal(saved.cells[1].source.join(''), 'room = rectangle_area(2, 3)');
      } finally {
        front.script([]);
        await workbench.command('View: Revert and Close Editor');
        workbench.file = former;
      }
    },
  },
];
