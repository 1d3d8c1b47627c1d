/** The named stops that calibration found for a model: agent_models/NAME/calibration.json. Must not know: the editor's API. */
import fs from 'node:fs/promises';
import path from 'node:path';

import { HIGHEST, LOWEST } from './value';

export const STOP_NAMES = ['quality', 'balanced', 'saver'] as const;
export type StopName = (typeof STOP_NAMES)[number];

export interface Stop {
  readonly name: StopName;
  readonly threshold: number;
}

/** The stops in order from quality to saver; none where the model has no (readable) calibration. */
export async function readStops(bundles: string, model: string): Promise<readonly Stop[]> {
  if (!/^[\w.-]+$/.test(model) || model.startsWith('.')) {
    return []; // a path or a hub name: no bundle has that
  }
  try {
    return parseStops(await fs.readFile(path.join(bundles, model, 'calibration.json'), 'utf8'));
  } catch {
    return []; // not calibrated: the numbers can still be set
  }
}

export function parseStops(json: string): readonly Stop[] {
  const { stops } = JSON.parse(json) as { stops?: Partial<Record<StopName, { threshold?: unknown }>> };
  return STOP_NAMES.flatMap((name) => {
    const threshold = stops?.[name]?.threshold;
    return typeof threshold === 'number' && threshold >= LOWEST && threshold <= HIGHEST ? [{ name, threshold }] : [];
  });
}
