/**
 * What pip installs, pinned: the extension carries lists of every package with its hashes for all platforms (daemon/release/locks.py), one
 * for each extra, and pip refuses any other file. Wheels alone are installed: building a source package would fetch tools that no list pins.
 *
 * Must not use the editor's API.
 */
import { createHash } from 'node:crypto';
import fs from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

/** pip's arguments for the extension's wheel with extras. The wheel's hash is that of the file itself, which came with the extension. */
export async function pinned(wheel: string, extras: readonly string[]): Promise<readonly string[]> {
  const lists = ['requirements.txt', ...extras.map((extra) => `requirements-${extra}.txt`)];
  const digest = createHash('sha256').update(await fs.readFile(wheel)).digest('hex');
  const requirement = `green-code[${extras.join(',')}] @ ${pathToFileURL(wheel).href}#sha256=${digest}`;
  const listed = lists.flatMap((name) => ['--requirement', path.join(path.dirname(wheel), name)]);
  return ['--require-hashes', '--only-binary', ':all:', ...listed, requirement];
}
