/** What calibration found for a model: agent_models/NAME/calibration.json. Must not know: the editor's API. */
import fs from 'node:fs/promises';
import path from 'node:path';

import { t } from '../l10n';
import { HIGHEST, LOWEST } from './value';

export const STOP_NAMES = ['quality', 'balanced', 'saver'] as const;
export type StopName = (typeof STOP_NAMES)[number];

export interface Stop {
  readonly name: StopName;
  readonly threshold: number;
  /** Share of full depth's quality that is lost at most, with this confidence. */
  readonly allowedLoss: number;
  readonly confidence: number;
  readonly saving: number;
}

/** What a threshold gave in cold completions of held-out code, in fast decoding: shares of full depth's joules and quality. */
export interface Point {
  readonly threshold: number;
  readonly saving: number;
  readonly quality: number;
}

export interface Calibration {
  /** From quality to saver; without those that only full depth keeps, which is at the end of every slider and list. */
  readonly stops: readonly Stop[];
  /** By threshold, full depth last. */
  readonly curve: readonly Point[];
}

export const UNCALIBRATED: Calibration = { stops: [], curve: [] };

export function stopTitle(name: StopName): string {
  switch (name) {
    case 'quality':
      return t('Quality');
    case 'balanced':
      return t('Balanced');
    case 'saver':
      return t('Saver');
  }
}

/** What a threshold is to be expected to give: between those that were measured, on a line. Null without a curve. */
export function pointAt(curve: readonly Point[], threshold: number): Point | null {
  const next = curve.findIndex((point) => point.threshold >= threshold);
  const [low, high] = [curve[next - 1], curve[next]];
  if (low === undefined || high === undefined) {
    return curve[0] ?? null; // below all that were measured; above them there is none, as full depth is last
  }
  const part = (threshold - low.threshold) / (high.threshold - low.threshold);
  const between = (key: 'saving' | 'quality') => low[key] + part * (high[key] - low[key]);
  return { threshold, saving: between('saving'), quality: between('quality') };
}

/** Nothing where the model has no (readable) calibration: the numbers can still be set. */
export async function readCalibration(bundles: string, model: string): Promise<Calibration> {
  if (!/^[\w.-]+$/.test(model) || model.startsWith('.')) {
    return UNCALIBRATED; // a path or a hub name: no bundle has that
  }
  try {
    return parseCalibration(await fs.readFile(path.join(bundles, model, 'calibration.json'), 'utf8'));
  } catch {
    return UNCALIBRATED;
  }
}

interface Json {
  readonly stops?: Partial<Record<StopName, { threshold?: unknown; allowed_loss?: unknown; confidence?: unknown; saving?: unknown }>>;
  readonly curve?: readonly { threshold?: unknown; saving?: unknown; edit_similarity?: unknown }[];
  readonly reference?: { readonly full?: { readonly edit_similarity?: unknown } };
}

export function parseCalibration(json: string): Calibration {
  const { stops, curve, reference } = JSON.parse(json) as Json;
  const full = reference?.full?.edit_similarity;
  const points = (curve ?? []).flatMap(({ threshold, saving, edit_similarity: similarity }) =>
    inRange(threshold) && isNumber(saving) && isNumber(similarity) && isNumber(full) && full > 0
      ? [{ threshold, saving, quality: similarity / full }]
      : [],
  );
  points.sort((a, b) => a.threshold - b.threshold);
  return {
    stops: STOP_NAMES.flatMap((name) => {
      const { threshold, allowed_loss: allowedLoss, confidence, saving } = stops?.[name] ?? {};
      const known = inRange(threshold) && isNumber(allowedLoss) && isNumber(confidence) && isNumber(saving);
      return known && threshold < HIGHEST ? [{ name, threshold, allowedLoss, confidence, saving }] : [];
    }),
    curve: points.at(-1)?.threshold === HIGHEST ? points : [],
  };
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
const inRange = (value: unknown): value is number => isNumber(value) && value >= LOWEST && value <= HIGHEST;
