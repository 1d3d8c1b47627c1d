/** Figures for people, in the language of the texts. In one place, so that status item, view and report agree. */
import { language, t } from '../l10n';
import type { Totals } from '../protocol';
import type { Suggestions } from '../threshold/suggestions';

const FORMS = {
  plain: {},
  whole: { maximumFractionDigits: 0 },
  tenths: { minimumFractionDigits: 1, maximumFractionDigits: 1 },
  hundredths: { minimumFractionDigits: 2, maximumFractionDigits: 2 },
  threeFigures: { minimumSignificantDigits: 3, maximumSignificantDigits: 3 },
  percent: { style: 'percent' },
} as const satisfies Readonly<Record<string, Intl.NumberFormatOptions>>;

/** Reused, because creating one costs more than a hundred uses. */
const formats = new Map<string, Intl.NumberFormat>();

function format(value: number, form: keyof typeof FORMS): string {
  const key = `${language()} ${form}`;
  const formatter = formats.get(key) ?? new Intl.NumberFormat(language(), FORMS[form]);
  formats.set(key, formatter);
  return `${value < 0 ? '\u2212' : ''}${formatter.format(Math.abs(value))}`; // a minus sign, not a hyphen
}

/** A number as the user set it. */
export const plain = (value: number): string => format(value, 'plain');
/** With three significant figures. */
export const rate = (value: number): string => format(value, 'threeFigures');
export const whole = (value: number): string => format(value, 'whole');
export const tenths = (value: number): string => format(value, 'tenths');
/** With the digits of the slider's steps: `0.85`. */
export const threshold = (value: number): string => format(value, 'hundredths');
export const seconds = (value: number): string => `${format(value, 'tenths')} s`;
/** Of files: megabytes below a gigabyte. */
export const fileSize = (bytes: number): string => (bytes < 1e9 ? `${whole(bytes / 1e6)} MB` : gigabytes(bytes));
/** How long ago something was: `3 minutes ago`. */
export function ago(secondsAgo: number): string {
  const [value, unit] = secondsAgo < 60 ? ([secondsAgo, 'second'] as const) : secondsAgo < 3600 ? ([secondsAgo / 60, 'minute'] as const) : ([secondsAgo / 3600, 'hour'] as const);
  return new Intl.RelativeTimeFormat(language()).format(-Math.round(value), unit);
}
export const gigabytes = (bytes: number): string => `${format(bytes / 1e9, 'tenths')} GB`;

/** `0.342` → `34%`. A loss has a minus sign. */
export function percent(fraction: number): string {
  return format(Math.round(fraction * 100) / 100, 'percent');
}

/** `2026-12-01` → `Dec 1`. */
export const shortDay = (day: string): string => new Intl.DateTimeFormat(language(), { day: 'numeric', month: 'short', timeZone: 'UTC' }).format(new Date(day));

const SIZES = { µ: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6 } as const;
/** SI prefixes, smallest first. */
type Prefixes = readonly [keyof typeof SIZES, ...(keyof typeof SIZES)[]];

const JOULES_PER_WATT_HOUR = 3600;

export function joules(value: number): string {
  return scaled(value, 'J', ['m', '', 'k']);
}

/** Joules in the unit of an electricity bill. */
export function wattHours(joules: number): string {
  return scaled(joules / JOULES_PER_WATT_HOUR, 'Wh', ['µ', 'm', '', 'k', 'M']);
}

/** CO2 equivalent at a grid intensity in grams per kilowatt-hour. */
export function carbon(joules: number, gridIntensity: number): string {
  return scaled((joules / JOULES_PER_WATT_HOUR / 1000) * gridIntensity, 'g', ['µ', 'm', '', 'k']);
}

/** Three significant figures with the prefix that suits the size. */
function scaled(value: number, unit: string, prefixes: Prefixes): string {
  const rounded = Number(value.toPrecision(3)); // before the prefix is chosen: 999.7 J are 1.00 kJ
  if (rounded === 0) {
    return `0 ${unit}`;
  }
  const prefix = prefixes.findLast((each) => Math.abs(rounded) >= SIZES[each]) ?? prefixes[0];
  return `${format(rounded / SIZES[prefix], 'threeFigures')} ${prefix}${unit}`;
}

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** The source of a figure, in words. `estimate` must never look like a measurement. */
export const sourceText = (source: string | null): string => (source ?? '').split('+').map(partOfSource).join(' + ');

function partOfSource(source: string): string {
  switch (source) {
    case 'nvml':
      return t('source.nvml');
    case 'rapl':
      return t('source.rapl');
    case 'estimate':
      return t('source.estimate');
    case 'server':
      return t('source.server');
    case 'unknown':
      return t('source.unknown');
    default:
      return source;
  }
}

/** A figure of totals in joules; unknown where a server computed everything and reports nothing. */
export const joulesOf = ({ source }: Totals, value: number): string => (source === 'unknown' ? t('figures.unknown') : joules(value));

/** What is in no figure of joules; empty if nothing is missing. */
export function unmeasuredText({ unmeasured }: Totals): string {
  return unmeasured === 0 ? '' : t('figures.unmeasured', { count: whole(unmeasured) });
}

/** Today's totals in one sentence, for use beside the word Today. */
export function todayText(totals: Totals): string {
  if (totals.source === 'unknown') {
    return unmeasuredText(totals);
  }
  const values = {
    saved: joules(totals.saved_joules),
    share: percent(totals.saving),
    source: sourceText(totals.source),
    count: whole(totals.completions),
  };
  return totals.completions === 1
    ? t('figures.todayOne', values)
    : t('figures.today', values);
}

/** The share of the energy at full depth that was not spent. Marked where an estimate is in it. */
export function lessEnergy({ saving, energy_full_joules: full, source }: Totals): string {
  return full === 0 ? '–' : `${source === 'estimate' ? '≈\u00a0' : ''}${percent(saving)}`;
}

/** Of the suggestions that were shown, the share that was accepted, whole or in part. */
export const acceptanceRate = ({ accepted, shown }: Totals): string => (shown === 0 ? '–' : percent(accepted / shown));

export const acceptedOfShown = ({ accepted, shown }: Totals): string => t('figures.ofShown', { accepted: whole(accepted), shown: whole(shown) });

/** Joules of all completions, also of those that were not accepted, for each accepted character. None where some are unknown. */
export function joulesPerCharacter({ energy_joules: used, accepted_characters: accepted, unmeasured }: Totals): string {
  return accepted === 0 || unmeasured > 0 ? '–' : joules(used / accepted);
}

/** What the totals' joules brought, beside what asking always brought on held-out code. Empty if nothing was used, or not all is known. */
export function acceptedText({ energy_joules: used, accepted_characters: accepted, unmeasured }: Totals, suggestions: Suggestions | null): string {
  if (used === 0 || unmeasured > 0) {
    return '';
  }
  const values = { rate: rate(accepted / used) };
  return suggestions === null
    ? t('figures.charactersPerJoule', values)
    : t('figures.charactersPerJouleCompared', {
        ...values,
        always: rate(1 / suggestions.always.joules),
        source: sourceText(suggestions.source),
      });
}
