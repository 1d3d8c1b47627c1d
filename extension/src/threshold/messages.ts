/** The messages between the threshold view and its page, which has no words or figures of its own. Must not use the editor's API. */
import { t } from '../l10n';
import { acceptedText, joules, mean, percent, tenths, threshold as thresholdText, todayText, whole } from '../state/format';
import type { Snapshot } from '../state/store';
import { pointAt, presetTitle, type Calibration, type Point } from './calibration';
import { STOPS, stopText, stopTitle, type Stop } from './stops';
import { basis, comparison, figureNames, figuresOf, outcomeText, type Outcome, type Suggestions } from './suggestions';
import { HIGHEST, LOWEST, noEffectReason, roundThreshold, STEP } from './value';

/** To the page: the scales of both sliders, which change only with the model. */
interface ScaleMessage {
  readonly type: 'scale';
  readonly stops: readonly StopStep[];
  /** Null where no outcomes were measured. */
  readonly measured: Measured | null;
  readonly presets: readonly { readonly threshold: number; readonly title: string; readonly text: string }[];
  readonly curve: readonly Point[];
  /** For each step of the threshold from the lowest. The page shows these while the slider moves. */
  readonly steps: readonly Step[];
}

/** A step of the slider of suggestions. */
export interface StopStep {
  readonly value: Stop;
  readonly title: string;
  readonly text: string;
  /** Null where this stop was not measured. */
  readonly outcome: Outcome | null;
  /** Figures in the order of `Measured.names`, and in comparison with asking always. */
  readonly figures: readonly string[];
  readonly comparison: string;
  /** All of it, for a screen reader. */
  readonly label: string;
}

interface Measured {
  readonly always: Outcome;
  readonly curve: readonly Outcome[];
  readonly names: readonly string[];
  readonly alwaysFigures: readonly string[];
  readonly basis: string;
  /** Ends of the axes, which begin at 0, and the lines across the curve. */
  readonly mostJoules: number;
  readonly mostJoulesText: string;
  readonly shares: readonly { readonly share: number; readonly text: string }[];
}

export interface Step {
  readonly text: string;
  /** The expected result, as a point on the curve and in words. */
  readonly point: Point | null;
  readonly words: string;
  /** All of it, for a screen reader. */
  readonly label: string;
}

/** To the page: everything else. */
interface StateMessage {
  readonly type: 'state';
  readonly suggestions: Stop;
  readonly threshold: number;
  /** Why the threshold has no effect now; empty if it has. */
  readonly noEffect: string;
  readonly bars: readonly { readonly share: number; readonly title: string }[];
  readonly barsLabel: string;
  readonly summary: string;
  readonly today: string;
}

/** A setting that a slider shows. */
type Value = { readonly setting: 'suggestions'; readonly value: Stop } | { readonly setting: 'threshold'; readonly value: number };

/** To the page: the setting was written, or that failed. State messages have the current value from now on. */
export type WrittenMessage = Value & { readonly type: 'written' };

/** From the page: a slider was moved. */
export type WriteMessage = Value & { readonly type: 'write' };

/** From the page: it has loaded, decoding should be fast, or a slider was moved. */
export type FromPage = { readonly type: 'ready' } | { readonly type: 'fast' } | WriteMessage;

export function scaleMessage({ presets, curve, suggestions }: Calibration): ScaleMessage {
  const count = Math.round((HIGHEST - LOWEST) / STEP) + 1;
  return {
    type: 'scale',
    stops: STOPS.map((stop) => stopStep(stop, suggestions)),
    measured: suggestions === null ? null : measured(suggestions),
    presets: presets.map(({ name, threshold }) => ({ threshold, title: presetTitle(name), text: thresholdText(threshold) })),
    curve,
    steps: Array.from({ length: count }, (_, index) => step(curve, roundThreshold(LOWEST + index * STEP))),
  };
}

function stopStep(value: Stop, suggestions: Suggestions | null): StopStep {
  const [title, text] = [stopTitle(value), stopText(value)];
  const outcome = suggestions?.stops[value] ?? null;
  if (suggestions === null || outcome === null) {
    return { value, title, text, outcome, figures: figureNames().map(() => '–'), comparison: '', label: `${title}. ${text}` };
  }
  const compared = comparison(outcome, suggestions.always);
  const label = `${title}. ${text} ${outcomeText(outcome)} ${compared}`;
  return { value, title, text, outcome, figures: figuresOf(outcome), comparison: compared, label };
}

function measured(suggestions: Suggestions): Measured {
  const { always, curve, stops } = suggestions;
  const outcomes = [always, ...curve, ...Object.values(stops)];
  const mostJoules = Math.max(...outcomes.map(({ joules: perCharacter }) => perCharacter));
  const fifths = Math.ceil(5 * Math.max(0.2, ...outcomes.flatMap(({ accepted, right }) => [accepted, right])));
  return {
    always,
    curve,
    names: figureNames(),
    alwaysFigures: figuresOf(always),
    basis: basis(suggestions),
    mostJoules,
    mostJoulesText: joules(mostJoules),
    shares: Array.from({ length: fifths }, (_, index) => ({ share: (index + 1) / 5, text: percent((index + 1) / 5) })),
  };
}

function step(curve: readonly Point[], threshold: number): Step {
  const text = thresholdText(threshold);
  const point = pointAt(curve, threshold);
  const words =
    point === null
      ? ''
      : t('threshold.expected', {
          saving: percent(point.saving),
          quality: percent(point.quality),
        });
  const state = threshold >= HIGHEST ? t('threshold.everyLayerAt', { threshold: text }) : `${text}.`;
  return { text, point, words, label: `${state} ${words}`.trim() };
}

export function stateMessage({ settings, energy, today }: Snapshot, suggestions: Suggestions | null): StateMessage {
  const exits = energy?.last_exits ?? [];
  const last = mean(exits);
  const layers = energy?.layers_total ?? 0;
  const total = whole(layers);
  return {
    type: 'state',
    suggestions: settings.suggestions,
    threshold: settings.threshold,
    noEffect: noEffectReason(settings.decoding),
    bars: exits.map((exit) => ({ share: exit / layers, title: t('threshold.layersOfTotal', { count: whole(exit), total }) })),
    barsLabel: t('threshold.layersPerToken', { each: exits.map(whole).join(', ') }),
    summary: last === null ? t('threshold.noCompletionYet') : t('threshold.averageLayers', { average: tenths(last), total }),
    today: today === null || today.completions === 0 ? t('threshold.nothingYet') : `${todayText(today)} ${acceptedText(today, suggestions)}`.trim(),
  };
}
