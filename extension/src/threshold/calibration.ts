/** The calibration of a model: agent_models/NAME/calibration.json. Must not use the editor's API. */
import fs from 'node:fs/promises';
import path from 'node:path';

import { t } from '../l10n';
import { STOPS, type Stop } from './stops';
import { HIGHEST, LOWEST } from './value';

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

/** What typing held-out code gave at one stop. */
export interface Outcome {
  /** Share of the typed characters that accepted suggestions wrote. */
  readonly accepted: number;
  /** Share of the shown suggestions that were right to their end. */
  readonly right: number;
  /** Per accepted character. */
  readonly joules: number;
  /** Suggestions shown and not accepted, per 100 typed characters. */
  readonly rejected: number;
}

export interface Suggestions {
  readonly files: number;
  readonly characters: number;
  /** Of the joules, as in `Totals`. */
  readonly source: string;
  /** Asking at every key, decoding `exact`, and no stop. */
  readonly always: Outcome;
  /** Ordered by stop. */
  readonly curve: readonly Outcome[];
  /** Of each stop that was measured. */
  readonly stops: Readonly<Partial<Record<Stop, Outcome>>>;
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
      return t('Quality');
    case 'balanced':
      return t('Balanced');
    case 'saver':
      return t('Saver');
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

interface OutcomeJson {
  readonly stop?: unknown;
  readonly accepted?: unknown;
  readonly right?: unknown;
  readonly joules_per_character?: unknown;
  readonly rejected_per_100?: unknown;
}

interface SuggestionsJson {
  readonly reference?: { readonly files?: unknown; readonly characters?: unknown; readonly energy_source?: unknown };
  readonly always?: OutcomeJson;
  readonly curve?: readonly OutcomeJson[];
  readonly presets?: Partial<Record<Stop, OutcomeJson>>;
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

function parseSuggestions(json: SuggestionsJson | undefined): Suggestions | null {
  const { files, characters, energy_source: source } = json?.reference ?? {};
  const always = outcome(json?.always);
  if (always === null || !isNumber(files) || !isNumber(characters) || typeof source !== 'string') {
    return null;
  }
  const measured = (json?.curve ?? []).filter((point): point is OutcomeJson & { readonly stop: number } => isNumber(point.stop));
  const stops = STOPS.map((stop) => [stop, outcome(json?.presets?.[stop])] as const);
  return {
    files,
    characters,
    source,
    always,
    curve: measured.toSorted((a, b) => a.stop - b.stop).map(outcome).filter((point) => point !== null),
    stops: Object.fromEntries(stops.filter(([, point]) => point !== null)),
  };
}

function outcome({ accepted, right, joules_per_character: joules, rejected_per_100: rejected }: OutcomeJson = {}): Outcome | null {
  return isNumber(accepted) && isNumber(right) && isNumber(joules) && joules > 0 && isNumber(rejected) ? { accepted, right, joules, rejected } : null;
}

const isNumber = (value: unknown): value is number => typeof value === 'number' && Number.isFinite(value);
const inRange = (value: unknown): value is number => isNumber(value) && value >= LOWEST && value <= HIGHEST;
