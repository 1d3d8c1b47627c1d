/**
 * Which environments were offered to the user on this machine. The record is beside the environments: the editor's own
 * memory belongs to the machine of the user interface, and the extension may run on several others.
 * Must not use the editor's API.
 */
import fs from 'node:fs/promises';
import path from 'node:path';

import { exists } from './resolve';

const offerFile = (storage: string, environment: string) => path.join(storage, `offered-${environment}`);

export const wasOffered = (storage: string, environment: string): Promise<boolean> => exists(offerFile(storage, environment));

export async function recordOffer(storage: string, environment: string): Promise<void> {
  await fs.mkdir(storage, { recursive: true });
  await fs.writeFile(offerFile(storage, environment), '');
}
