/** The messages between the threshold view and its page, which has no words or figures of its own. Must not use the editor's API. */
import { t } from '../l10n';
import type { Decoding } from '../protocol';
import { acceptanceRate, acceptedOfShown, joules, joulesPerCharacter, lessEnergy, mean, percent, sourceText, tenths, threshold as thresholdText, whole } from '../state/format';
import type { Snapshot } from '../state/store';
import { pointAt, presetTitle, type Calibration, type Point } from './calibration';
import { costMark, outcomeCharts, shareMark, tradeOff, tradeOffMark, type Chart, type Mark } from './chart';
import { modeTitle } from './modes';
import { STOPS, stopText, stopTitle, type Stop } from './stops';
import { basis, comparison, figureNames, figuresOf, outcomeText, type Suggestions } from './suggestions';
import { HIGHEST, LOWEST, roundThreshold, STEP } from './value';

/** To the page: the scales of both sliders, which change only with the model. */
interface ScaleMessage {
  readonly type: 'scale';
  readonly stops: readonly StopStep[];
  /** Null where no outcomes were measured. */
  readonly measured: Measured | null;
  readonly presets: readonly { readonly threshold: number; readonly title: string; readonly text: string }[];
  /** Null without a curve. */
  readonly tradeOff: Chart | null;
  /** For each step of the threshold from the lowest. The page shows these while the slider moves. */
  readonly steps: readonly Step[];
}

/** A step of the slider of suggestions. */
interface StopStep {
  readonly value: Stop;
  readonly title: string;
  readonly text: string;
  /** Null where this stop was not measured. */
  readonly marks: { readonly shares: Mark; readonly costs: Mark } | null;
  /** Figures in the order of `Measured.names`, and in comparison with asking always. */
  readonly figures: readonly string[];
  readonly comparison: string;
  /** All of it, for a screen reader. */
  readonly label: string;
}

interface Measured {
  /** Null where there are not points enough. */
  readonly charts: ReturnType<typeof outcomeCharts>;
  readonly names: readonly string[];
  readonly alwaysFigures: readonly string[];
  readonly basis: string;
}

interface Step {
  readonly text: string;
  /** The expected result, on the chart and in words. */
  readonly mark: Mark | null;
  readonly words: string;
  /** All of it, for a screen reader. */
  readonly label: string;
}

/** To the page: everything else. */
interface StateMessage {
  readonly type: 'state';
  readonly suggestions: Stop;
  readonly threshold: number;
  readonly decoding: Decoding;
  /** What `fast` would give at this threshold; empty without a calibration. */
  readonly expected: string;
  readonly bars: readonly { readonly share: number; readonly title: string }[];
  readonly barsLabel: string;
  readonly summary: string;
  /** Whether there is a completion for Show Layers. */
  readonly hasLast: boolean;
  readonly today: readonly { readonly name: string; readonly figure: string }[];
  readonly todayNote: string;
}

/** A setting that a slider shows. */
type Value = { readonly setting: 'suggestions'; readonly value: Stop } | { readonly setting: 'threshold'; readonly value: number };

/** To the page: the setting was written, or that failed. State messages have the current value from now on. */
export type WrittenMessage = Value & { readonly type: 'written' };

/** From the page: a slider was moved. */
export type WriteMessage = Value & { readonly type: 'write' };

/** From the page: it has loaded, a mode was chosen, Show Layers was pressed, or a slider was moved. */
export type FromPage = { readonly type: 'ready' } | { readonly type: 'mode'; readonly value: unknown } | { readonly type: 'layers' } | WriteMessage;

export function scaleMessage({ presets, curve, suggestions }: Calibration): ScaleMessage {
  const count = Math.round((HIGHEST - LOWEST) / STEP) + 1;
  return {
    type: 'scale',
    stops: STOPS.map((stop) => stopStep(stop, suggestions)),
    measured:
      suggestions === null
        ? null
        : { charts: outcomeCharts(suggestions), names: figureNames(), alwaysFigures: figuresOf(suggestions.always), basis: basis(suggestions) },
    presets: presets.map(({ name, threshold }) => ({ threshold, title: presetTitle(name), text: thresholdText(threshold) })),
    tradeOff: curve.length === 0 ? null : tradeOff(curve),
    steps: Array.from({ length: count }, (_, index) => step(curve, roundThreshold(LOWEST + index * STEP))),
  };
}

function stopStep(value: Stop, suggestions: Suggestions | null): StopStep {
  const [title, text] = [stopTitle(value), stopText(value)];
  const outcome = suggestions?.stops[value];
  if (suggestions === null || outcome === undefined) {
    return { value, title, text, marks: null, figures: figureNames().map(() => '–'), comparison: '', label: `${title}. ${text}` };
  }
  const compared = comparison(outcome, suggestions.always);
  const label = `${title}. ${text} ${outcomeText(outcome)} ${compared}`;
  const marks = { shares: shareMark(outcome), costs: costMark(outcome) };
  return { value, title, text, marks, figures: figuresOf(outcome), comparison: compared, label };
}

function step(curve: readonly Point[], threshold: number): Step {
  const text = thresholdText(threshold);
  const point = pointAt(curve, threshold);
  const words = point === null ? '' : t('threshold.expectedHere', expectation(point));
  const state = threshold >= HIGHEST ? t('threshold.everyLayerAt', { threshold: text }) : `${text}.`;
  return { text, mark: point === null ? null : tradeOffMark(point), words, label: `${state} ${words}`.trim() };
}

const expectation = ({ saving, quality }: Point) => ({ saving: percent(saving), accuracy: percent(quality) });

/** What `fast` is expected to give at a threshold. Empty without a curve. */
export function expectedInFast(curve: readonly Point[], threshold: number): string {
  const point = pointAt(curve, threshold);
  return point === null ? '' : t('mode.expected', { mode: modeTitle('fast'), ...expectation(point) });
}

export function stateMessage(snapshot: Snapshot, curve: readonly Point[]): StateMessage {
  const { suggestions, threshold, decoding } = snapshot.settings;
  return {
    type: 'state',
    suggestions,
    threshold,
    decoding,
    expected: expectedInFast(curve, threshold),
    ...lastCompletion(snapshot),
    ...today(snapshot),
  };
}

/** Bars where tokens leave at different layers, which is in `fast` alone. */
function lastCompletion({ settings, energy }: Snapshot): Pick<StateMessage, 'bars' | 'barsLabel' | 'summary' | 'hasLast'> {
  const exits = energy?.last_exits ?? [];
  const average = mean(exits);
  const layers = energy?.layers_total ?? 0;
  const total = whole(layers);
  if (average === null) {
    return { bars: [], barsLabel: '', summary: t('threshold.noCompletionYet'), hasLast: false };
  }
  if (settings.decoding !== 'fast') {
    const values = { count: whole(exits.length), total };
    const summary = exits.length === 1 ? t('threshold.checkedTokenOne', values) : t('threshold.checkedTokens', values);
    return { bars: [], barsLabel: '', summary, hasLast: true };
  }
  return {
    bars: exits.map((exit) => ({ share: exit / layers, title: t('threshold.layersOfTotal', { count: whole(exit), total }) })),
    barsLabel: t('threshold.layersPerToken', { each: exits.map(whole).join(', ') }),
    summary: t('threshold.averageLayers', { average: tenths(average), total }),
    hasLast: true,
  };
}

function today({ today: totals }: Snapshot): Pick<StateMessage, 'today' | 'todayNote'> {
  if (totals === null || totals.completions === 0) {
    return { today: [], todayNote: t('threshold.nothingYet') };
  }
  return {
    today: [
      { name: t('figures.lessEnergy'), figure: `${lessEnergy(totals)} (${joules(totals.saved_joules)})` },
      { name: t('figures.suggestionsAccepted'), figure: `${acceptanceRate(totals)} (${acceptedOfShown(totals)})` },
      { name: t('common.charactersAccepted'), figure: whole(totals.accepted_characters) },
      { name: t('common.joulesPerCharacter'), figure: joulesPerCharacter(totals) },
    ],
    todayNote: t('common.energySource', { source: sourceText(totals.source) }),
  };
}
