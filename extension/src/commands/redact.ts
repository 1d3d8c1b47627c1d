/** Removes the user's name from a text for others. Must not use the editor's API. */
import os from 'node:os';

interface User {
  readonly home: string;
  readonly name: string;
}

/** The user of this process; without a name if the system has none for the user id. */
export function thisUser(): User {
  const home = os.homedir();
  try {
    return { home, name: os.userInfo().username };
  } catch {
    return { home, name: '' };
  }
}

/** Replaces the home folder by `~`, and elsewhere the user's name as a whole part of a path by `<user>`. */
export function redact(text: string, { home, name }: User): string {
  const flags = /^([a-z]:|\\\\)/i.test(home) ? 'giu' : 'gu'; // Windows ignores case
  const replace = (within: string, pattern: string | null, by: string) => (pattern === null ? within : within.replace(new RegExp(pattern, flags), by));
  return replace(replace(text, homePattern(home), '~'), namePattern(name), '<user>');
}

const SEPARATOR = '[\\\\/]';
/** The name ends here: no further letter and no file extension follows. */
const END = '(?![\\p{L}\\p{N}_-]|\\.[\\p{L}\\p{N}])';

/** Matches its folders with either slash, doubled where the text was escaped; null for a root, which names nobody. */
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

/** Between two separators, or at the end of a path that starts at a root or has a part before: `n/a` does not name the user a. */
function namePattern(name: string): string | null {
  if (name === '') {
    return null;
  }
  const between = `(?<=${SEPARATOR})${escape(name)}(?=${SEPARATOR})`;
  const last = `(?<=(?:^|[^\\p{L}\\p{N}_]|${SEPARATOR}[^\\\\/\\s]+)${SEPARATOR})${escape(name)}${END}`;
  return `${between}|${last}`;
}

const escape = (text: string) => text.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
