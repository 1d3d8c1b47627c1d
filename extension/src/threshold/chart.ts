/** The charts of the threshold view: what the page draws, with the texts of the axes. Must not use the editor's API. */
import { plain, threshold as thresholdText, whole } from '../state/format';
import type { Point } from './calibration';
import type { Outcome, StopOutcome, Suggestions } from './suggestions';
import { HIGHEST, LOWEST } from './value';

interface Axis {
  readonly least: number;
  readonly most: number;
  readonly ticks: readonly { readonly at: number; readonly text: string }[];
}

/** Colour and mark of a line, as in the legend. */
export type Series = 'accepted' | 'right' | 'joules' | 'accuracy' | 'energy';

interface Line {
  readonly series: Series;
  readonly points: readonly { readonly x: number; readonly y: number }[];
  /** A level to compare with, drawn across the chart. */
  readonly level: number | null;
}

export interface Chart {
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
}

/** A place on a chart: for each of its lines a height. */
export interface Mark {
  readonly x: number;
  readonly y: readonly number[];
}

/** Over how sure the model must be: what is accepted and what is right, then what it costs. Null with fewer than two points. */
export function outcomeCharts({ always, curve }: Suggestions): { readonly shares: Chart; readonly costs: Chart } | null {
  const [first, last] = [curve[0], curve.at(-1)];
  if (first === undefined || last === undefined || first.stop === last.stop) {
    return null;
  }
  const x = axis(first.stop, last.stop, 0.2, hundredfold);
  const all: readonly Outcome[] = [always, ...curve];
  const line = (series: 'accepted' | 'right' | 'joules'): Line => ({
    series,
    points: curve.map((point) => ({ x: point.stop, y: point[series] })),
    level: always[series],
  });
  const highest = Math.max(...all.flatMap(({ accepted, right }) => [accepted, right]));
  const dearest = Math.max(...all.map(({ joules: perCharacter }) => perCharacter));
  return {
    shares: { x, y: axis(0, upTo(highest, 0.2), 0.2, hundredfold), lines: [line('accepted'), line('right')] },
    costs: { x, y: axis(0, upTo(dearest, roundStep(dearest)), roundStep(dearest), thousandfold), lines: [line('joules')] },
  };
}

export const shareMark = ({ stop, accepted, right }: StopOutcome): Mark => ({ x: stop, y: [accepted, right] });
export const costMark = ({ stop, joules: perCharacter }: StopOutcome): Mark => ({ x: stop, y: [perCharacter] });

/** Over the threshold: accuracy kept and energy not spent. */
export function tradeOff(curve: readonly Point[]): Chart {
  const shares = curve.flatMap(({ quality, saving }) => [quality, saving]);
  return {
    x: axis(LOWEST, HIGHEST, 0.1, thresholdText),
    y: axis(Math.min(0, ...shares), Math.max(1, ...shares), 0.5, hundredfold),
    lines: [
      { series: 'accuracy', points: curve.map(({ threshold, quality }) => ({ x: threshold, y: quality })), level: null },
      { series: 'energy', points: curve.map(({ threshold, saving }) => ({ x: threshold, y: saving })), level: null },
    ],
  };
}

export const tradeOffMark = ({ threshold, quality, saving }: Point): Mark => ({ x: threshold, y: [quality, saving] });

// The names of the axes have the units: percent, and millijoules.
const hundredfold = (share: number) => whole(100 * share);
const thousandfold = (joules: number) => plain(1000 * joules);

/** Ticks at the multiples of `step`. */
function axis(least: number, most: number, step: number, text: (at: number) => string): Axis {
  const [first, last] = [Math.ceil(least / step - 1e-9), Math.floor(most / step + 1e-9)];
  const ticks = Array.from({ length: last - first + 1 }, (_, index) => Number(((first + index) * step).toFixed(9)));
  return { least, most, ticks: ticks.map((at) => ({ at, text: text(at) })) };
}

const upTo = (value: number, step: number) => Math.ceil(value / step - 1e-9) * step;

/** 1, 2 or 5 times a power of ten, so that an axis up to `most` has two to five steps. */
function roundStep(most: number): number {
  const power = 10 ** Math.floor(Math.log10(most));
  return most / power >= 5 ? 2 * power : most / power >= 2 ? power : power / 2;
}
