/**
 * Which environments were offered here, or declined. It is kept beside them: the editor's own memory is of the machine at
 * which the user sits, and the extension may run on several others. Must not know: the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { exists } from './resolve';

const note = (storage: string, environment: string) => path.join(storage, `offered-${environment}`);

export const wasOffered = (storage: string, environment: string): Promise<boolean> => exists(note(storage, environment));

export async function noteOffered(storage: string, environment: string): Promise<void> {
  await fs.mkdir(storage, { recursive: true });
  await fs.writeFile(note(storage, environment), '');
}
