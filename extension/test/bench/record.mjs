/**
 * Writes recordings.jsonl: small programs of ours, typed key by key.
 *
 *   node extension/test/bench/record.mjs
 *
 * The typing is simulated. Intervals are log-normal around 150 ms, which is a practised typist (the mean of 168,000 volunteers was
 * 239 ms, of fast ones 120 ms: Dhakal et al., CHI 2018). Pauses are longer before a line and after a bracket or an operator.
 * One key in forty is a typing error that is corrected. The seed is fixed, so the file is always the same.
 */
import fs from 'node:fs';
import path from 'node:path';

const MEDIAN_MS = 150;
const SPREAD = 0.4; // of the logarithm
const PAUSE_MS = 700;
const ERROR_RATE = 1 / 40;

/** Marks where typing begins. */
const CURSOR = '▮';
const PROGRAMS = {
  'temperatures.py': `"""Readings of a weather station."""

from statistics import mean


def celsius(fahrenheit):
    return (fahrenheit - 32) * 5 / 9


def warmest(readings):
▮    best = readings[0]
    for reading in readings:
        if reading > best:
            best = reading
    return best
`,
  'inventory.py': `class Inventory:
    """What is in stock, by name."""

    def __init__(self):
        self.items = {}

    def add(self, name, count):
        self.items[name] = self.items.get(name, 0) + count

    def remove(self, name, count):
▮        if self.items.get(name, 0) < count:
            raise ValueError("not enough " + name)
        self.items[name] -= count
`,
  'words.py': `import re
from collections import Counter


def words(text):
    return re.findall(r"[a-z]+", text.lower())


▮def most_common(text, count):
    counter = Counter(words(text))
    return counter.most_common(count)
`,
  'Stack.java': `import java.util.ArrayList;
import java.util.List;

public class Stack<T> {
    private final List<T> items = new ArrayList<>();

    public void push(T item) {
        items.add(item);
    }

▮    public T pop() {
        if (items.isEmpty()) {
            throw new IllegalStateException("empty");
        }
        return items.remove(items.size() - 1);
    }
`,
  'Account.java': `public class Account {
    private long cents;

    public Account(long cents) {
        this.cents = cents;
    }

    public void deposit(long amount) {
        if (amount <= 0) {
            throw new IllegalArgumentException("amount");
        }
        cents += amount;
    }

▮    public void withdraw(long amount) {
        if (amount > cents) {
            throw new IllegalArgumentException("amount");
        }
        cents -= amount;
    }
`,
};

/** Uniform numbers from 0 to 1 (mulberry32, public domain). */
function uniform(seed) {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

const random = uniform(20261125);
const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const interval = (before) =>
  Math.round(MEDIAN_MS * Math.exp(SPREAD * normal()) + (before === 'Enter' ? PAUSE_MS * random() * 2 : /[(=<>+*,-]/.test(before) ? (PAUSE_MS * random()) / 2 : 0));

function keysOf(text) {
  const keys = [];
  const press = (key) => keys.push([interval(keys.at(-1)?.[1] ?? 'Enter'), key]);
  for (const character of text) {
    if (random() < ERROR_RATE && /[a-z]/.test(character)) {
      press(String.fromCharCode(97 + Math.floor(26 * random())));
      press('Backspace');
    }
    press(character === '\n' ? 'Enter' : character);
  }
  return keys;
}

const recordings = Object.entries(PROGRAMS).map(([file, program]) => {
  const [before, typed] = program.split(CURSOR);
  return { file, before, keys: keysOf(typed.trimEnd()) };
});
fs.writeFileSync(path.join(import.meta.dirname, 'recordings.jsonl'), `${recordings.map((one) => JSON.stringify(one)).join('\n')}\n`);
console.log(`${recordings.reduce((sum, { keys }) => sum + keys.length, 0)} keys in ${recordings.length} files`);
