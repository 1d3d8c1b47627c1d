/** The source files of the extension, for tests that check their texts. */
import fs from 'node:fs';
import path from 'node:path';

import ts from 'typescript';

export const ROOT = path.join(import.meta.dirname, '../../..');
const SOURCES = path.join(ROOT, 'extension/src');

/** Names relative to extension/src, with their nodes. */
export const sources: readonly { readonly name: string; readonly nodes: readonly ts.Node[] }[] = fs
  .readdirSync(SOURCES, { recursive: true, encoding: 'utf8' })
  .filter((name) => name.endsWith('.ts'))
  .map((name) => ({ name: name.replaceAll(path.sep, '/'), nodes: nodesOf(path.join(SOURCES, name)) }));

/** Every node of a script. */
export function nodesOf(file: string): ts.Node[] {
  const descend = (node: ts.Node): ts.Node[] => {
    const below: ts.Node[] = [];
    ts.forEachChild(node, (child) => void below.push(...descend(child)));
    return [node, ...below];
  };
  return descend(ts.createSourceFile(file, fs.readFileSync(file, 'utf8'), ts.ScriptTarget.Latest));
}
