/** What typing held-out code gave at each stop, and in words. From calibration.json. Must not use the editor's API. */
import { t } from '../l10n';
import { joules, percent, sourceText, tenths, whole } from '../state/format';
import { STOPS, type Stop } from './stops';
import { isNumber } from './value';

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

/** An outcome, and the probability that a suggestion needed there. */
export interface StopOutcome extends Outcome {
  readonly stop: number;
}

export interface Suggestions {
  readonly files: number;
  readonly characters: number;
  /** Of the joules, as in `Totals`. */
  readonly source: string;
  /** Without gate and stop, in `exact`. */
  readonly always: Outcome;
  /** Ordered by stop. */
  readonly curve: readonly StopOutcome[];
  /** Of each stop that was measured. */
  readonly stops: Readonly<Partial<Record<Stop, StopOutcome>>>;
}

interface OutcomeJson {
  readonly stop?: unknown;
  readonly accepted?: unknown;
  readonly right?: unknown;
  readonly joules_per_character?: unknown;
  readonly rejected_per_100?: unknown;
}

export interface SuggestionsJson {
  readonly reference?: { readonly files?: unknown; readonly characters?: unknown; readonly energy_source?: unknown };
  readonly always?: OutcomeJson;
  readonly curve?: readonly OutcomeJson[];
  readonly presets?: Partial<Record<Stop, OutcomeJson>>;
}

/** Null where the reference or asking always is missing: there would be nothing to compare with. */
export function parseSuggestions(json: SuggestionsJson | undefined): Suggestions | null {
  const { files, characters, energy_source: source } = json?.reference ?? {};
  const always = outcome(json?.always);
  if (always === null || !isNumber(files) || !isNumber(characters) || typeof source !== 'string') {
    return null;
  }
  const curve = (json?.curve ?? []).map(stopOutcome).filter((point) => point !== null);
  const stops = STOPS.map((stop) => [stop, stopOutcome(json?.presets?.[stop])] as const);
  return {
    files,
    characters,
    source,
    always,
    curve: curve.toSorted((a, b) => a.stop - b.stop),
    stops: Object.fromEntries(stops.filter(([, point]) => point !== null)),
  };
}

function outcome({ accepted, right, joules_per_character: perCharacter, rejected_per_100: rejected }: OutcomeJson = {}): Outcome | null {
  const isComplete = isNumber(accepted) && isNumber(right) && isNumber(perCharacter) && perCharacter > 0 && isNumber(rejected);
  return isComplete ? { accepted, right, joules: perCharacter, rejected } : null;
}

function stopOutcome(json: OutcomeJson = {}): StopOutcome | null {
  const found = outcome(json);
  return found !== null && isNumber(json.stop) ? { stop: json.stop, ...found } : null;
}

/** The names of an outcome's figures. */
export const figureNames = (): readonly string[] => [
  t('common.charactersAccepted'),
  t('threshold.suggestionsRight'),
  t('common.joulesPerCharacter'),
  t('threshold.rejected'),
];

/** In the order of their names. */
export const figuresOf = (outcome: Outcome): readonly string[] => [
  percent(outcome.accepted),
  percent(outcome.right),
  joules(outcome.joules),
  tenths(outcome.rejected),
];

export function outcomeText({ accepted, right, joules: perCharacter, rejected }: Outcome): string {
  return t('threshold.stopFigures', {
    accepted: percent(accepted),
    right: percent(right),
    joules: joules(perCharacter),
    rejected: tenths(rejected),
  });
}

export function comparison(outcome: Outcome, always: Outcome): string {
  const times = always.joules / outcome.joules;
  return times >= 1
    ? t('threshold.timesLess', { times: tenths(times) })
    : t('threshold.timesMore', { times: tenths(1 / times) });
}

/** How the outcomes were obtained. */
export function basis({ files, characters, source }: Suggestions): string {
  return t('threshold.measuredBy', {
    files: whole(files),
    characters: whole(characters),
    source: sourceText(source),
  });
}
