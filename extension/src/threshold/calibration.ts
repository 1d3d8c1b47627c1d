/** The calibration of a model: agent_models/NAME/calibration.json. Must not use the editor's API. */
import fs from 'node:fs/promises';
import path from 'node:path';

import { t } from '../l10n';
import { parseSuggestions, type Suggestions, type SuggestionsJson } from './suggestions';
import { HIGHEST, isNumber, LOWEST } from './value';

const PRESET_NAMES = ['quality', 'balanced', 'saver'] as const;
type PresetName = (typeof PRESET_NAMES)[number];

export interface Preset {
  readonly name: PresetName;
  readonly threshold: number;
  /** Upper bound of the share of full-depth quality that is lost, at this confidence. */
  readonly allowedLoss: number;
  readonly confidence: number;
  readonly saving: number;
}

/** What a threshold gave in fast decoding, on held-out code with an empty cache: shares of full-depth joules and quality. */
export interface Point {
  readonly threshold: number;
  readonly saving: number;
  readonly quality: number;
}

export interface Calibration {
  /** From quality to saver. Without presets at full depth, which every slider and list has at its end. */
  readonly presets: readonly Preset[];
  /** Ordered by threshold, full depth last. */
  readonly curve: readonly Point[];
  /** Null where none were measured. */
  readonly suggestions: Suggestions | null;
}

export const UNCALIBRATED: Calibration = { presets: [], curve: [], suggestions: null };

export function presetTitle(name: PresetName): string {
  switch (name) {
    case 'quality':
      return t('threshold.quality');
    case 'balanced':
      return t('threshold.balanced');
    case 'saver':
      return t('threshold.saver');
  }
}

/** The expected result of a threshold, by linear interpolation between measured ones. Null without a curve. */
export function pointAt(curve: readonly Point[], threshold: number): Point | null {
  const next = curve.findIndex((point) => point.threshold >= threshold);
  const [low, high] = [curve[next - 1], curve[next]];
  if (low === undefined || high === undefined) {
    return curve[0] ?? null; // below all measured thresholds; none is above them, because full depth is last
  }
  const part = (threshold - low.threshold) / (high.threshold - low.threshold);
  const between = (key: 'saving' | 'quality') => low[key] + part * (high[key] - low[key]);
  return { threshold, saving: between('saving'), quality: between('quality') };
}

/** `UNCALIBRATED` if the model has no readable calibration: a threshold can still be set. */
export async function readCalibration(bundles: string, model: string): Promise<Calibration> {
  if (!/^[\w.-]+$/.test(model) || model.startsWith('.')) {
    return UNCALIBRATED; // a path or a name on the hub is no bundle
  }
  try {
    return parseCalibration(await fs.readFile(path.join(bundles, model, 'calibration.json'), 'utf8'));
  } catch {
    return UNCALIBRATED;
  }
}

interface Json {
  readonly presets?: Partial<Record<PresetName, { threshold?: unknown; allowed_loss?: unknown; confidence?: unknown; saving?: unknown }>>;
  readonly curve?: readonly { threshold?: unknown; saving?: unknown; edit_similarity?: unknown }[];
  readonly reference?: { readonly full?: { readonly edit_similarity?: unknown } };
  readonly suggestions?: SuggestionsJson;
}

export function parseCalibration(json: string): Calibration {
  const { presets, curve, reference, suggestions } = JSON.parse(json) as Json;
  const full = reference?.full?.edit_similarity;
  const points = (curve ?? []).flatMap(({ threshold, saving, edit_similarity: similarity }) =>
    inRange(threshold) && isNumber(saving) && isNumber(similarity) && isNumber(full) && full > 0
      ? [{ threshold, saving, quality: similarity / full }]
      : [],
  );
  points.sort((a, b) => a.threshold - b.threshold);
  return {
    presets: PRESET_NAMES.flatMap((name) => {
      const { threshold, allowed_loss: allowedLoss, confidence, saving } = presets?.[name] ?? {};
      const isComplete = inRange(threshold) && isNumber(allowedLoss) && isNumber(confidence) && isNumber(saving);
      return isComplete && threshold < HIGHEST ? [{ name, threshold, allowedLoss, confidence, saving }] : [];
    }),
    curve: points.at(-1)?.threshold === HIGHEST ? points : [],
    suggestions: parseSuggestions(suggestions),
  };
}

const inRange = (value: unknown): value is number => isNumber(value) && value >= LOWEST && value <= HIGHEST;
