/** The front of a test, opened by scripted/sitecustomize.py: what it was asked and answered, and texts that it takes for the model's. */
import fs from 'node:fs';
import path from 'node:path';

import { until } from './harness.mjs';

/** The folder for PYTHONPATH. */
export const SCRIPTED = path.join(import.meta.dirname, 'scripted');

export class FrontLog {
  constructor(runtime) {
    this.file = path.join(runtime, 'front.jsonl');
    this.scriptFile = path.join(runtime, 'script.json');
  }

  /** Requests whose prefix ends with an entry's `before` get its `text` from now on; without entries all reach the engine. */
  script(entries) {
    fs.writeFileSync(`${this.scriptFile}.new`, JSON.stringify(entries));
    fs.renameSync(`${this.scriptFile}.new`, this.scriptFile);
  }

  /** All events so far, from the one at `from` on. */
  events(from = 0) {
    const lines = fs.existsSync(this.file) ? fs.readFileSync(this.file, 'utf8').split('\n') : [''];
    return lines.slice(from, -1).map((line) => JSON.parse(line)); // the last line is empty, or half written
  }

  mark() {
    return this.events().length;
  }

  /** The first event after a mark that matches. */
  next(what, mark, matches, timeoutMs) {
    return until(what, () => this.events(mark).find(matches), timeoutMs);
  }
}
