/** Takes the user's name out of a text that is to be shown to others. Must not know: the editor's API. */
import os from 'node:os';

export interface User {
  readonly home: string;
  readonly name: string;
}

/** Whoever runs this; without a name where the system has none for his number. */
export function thisUser(): User {
  const home = os.homedir();
  try {
    return { home, name: os.userInfo().username };
  } catch {
    return { home, name: '' };
  }
}

/** With the home folder as `~`, and elsewhere the user's name, where it is a whole part of a path, as `<user>`. */
export function redact(text: string, { home, name }: User): string {
  const flags = /^([a-z]:|\\\\)/i.test(home) ? 'giu' : 'gu'; // Windows takes either case
  const replace = (within: string, pattern: string | null, by: string) => (pattern === null ? within : within.replace(new RegExp(pattern, flags), by));
  return replace(replace(text, homePattern(home), '~'), namePattern(name), '<user>');
}

const SEPARATOR = '[\\\\/]';
/** No longer name goes on here: neither more of a word follows nor a file's ending. */
const END = '(?![\\p{L}\\p{N}_-]|\\.[\\p{L}\\p{N}])';

/** Its folders with either slash, doubled where the text was escaped; null for a root, which says nothing of anybody. */
function homePattern(home: string): string | null {
  const parts = home.split(/[\\/]+/).filter(Boolean);
  const drive = /^([a-z]):$/i.exec(parts[0] ?? '')?.[1];
  const folders = drive === undefined ? parts : parts.slice(1);
  if (folders.length === 0) {
    return null;
  }
  const start = drive === undefined ? SEPARATOR : `${drive}(?::|%3A)${SEPARATOR}+`; // a URI may have the colon escaped
  return `(?<![\\p{L}\\p{N}_.-])${start}${folders.map(escape).join(`${SEPARATOR}+`)}${END}`;
}

/** Between two separators, or at the end of a path that starts at a root or has another part before: `n/a` is no path of the user a. */
function namePattern(name: string): string | null {
  if (name === '') {
    return null;
  }
  const between = `(?<=${SEPARATOR})${escape(name)}(?=${SEPARATOR})`;
  const last = `(?<=(?:^|[^\\p{L}\\p{N}_]|${SEPARATOR}[^\\\\/\\s]+)${SEPARATOR})${escape(name)}${END}`;
  return `${between}|${last}`;
}

const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
