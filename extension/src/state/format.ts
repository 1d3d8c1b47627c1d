/** Figures as people read them, in the language of the texts. One place, so that the item, the view and the report agree. */
import { language, t } from '../l10n';
import type { Totals } from '../protocol';

const FORMS = {
  plain: {},
  whole: { maximumFractionDigits: 0 },
  tenths: { minimumFractionDigits: 1, maximumFractionDigits: 1 },
  hundredths: { minimumFractionDigits: 2, maximumFractionDigits: 2 },
  threeFigures: { minimumSignificantDigits: 3, maximumSignificantDigits: 3 },
  percent: { style: 'percent' },
} as const satisfies Readonly<Record<string, Intl.NumberFormatOptions>>;

/** Kept, since making one costs more than a hundred uses of it. */
const made = new Map<string, Intl.NumberFormat>();

function write(value: number, form: keyof typeof FORMS): string {
  const key = `${language()} ${form}`;
  const format = made.get(key) ?? new Intl.NumberFormat(language(), FORMS[form]);
  made.set(key, format);
  return `${value < 0 ? '\u2212' : ''}${format.format(Math.abs(value))}`; // a minus sign, not a hyphen
}

/** A number that the user set, as he set it. */
export const plain = (value: number): string => write(value, 'plain');
export const whole = (value: number): string => write(value, 'whole');
export const tenths = (value: number): string => write(value, 'tenths');
/** As the slider steps: `0.85`. */
export const threshold = (value: number): string => write(value, 'hundredths');
export const seconds = (value: number): string => `${write(value, 'tenths')} s`;
export const gigabytes = (bytes: number): string => `${write(bytes / 1e9, 'tenths')} GB`;

/** `0.342` → `34%`. A loss shows as what it is, with a minus sign. */
export function percent(fraction: number): string {
  return write(Math.round(fraction * 100) / 100, 'percent');
}

const SIZES = { µ: 1e-6, m: 1e-3, '': 1, k: 1e3, M: 1e6 } as const;
/** SI prefixes, the smallest first. */
type Prefixes = readonly [keyof typeof SIZES, ...(keyof typeof SIZES)[]];

const JOULES_PER_WATT_HOUR = 3600;

export function joules(value: number): string {
  return scaled(value, 'J', ['m', '', 'k']);
}

/** Joules in the unit of an electricity bill. */
export function wattHours(joules: number): string {
  return scaled(joules / JOULES_PER_WATT_HOUR, 'Wh', ['µ', 'm', '', 'k', 'M']);
}

/** Of CO2 equivalent, at a grid intensity in grams per kilowatt-hour. */
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
  return `${write(rounded / SIZES[prefix], 'threeFigures')} ${prefix}${unit}`;
}

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Says where a figure comes from, in words; `estimate` must never look like a measurement. */
export function sourceText(source: string | null): string {
  switch (source) {
    case 'nvml':
      return t('measured on the GPU (NVML)');
    case 'rapl':
      return t('measured on the CPU (RAPL)');
    case 'estimate':
      return t('estimated from processor time');
    default:
      return source ?? '';
  }
}

/** What today came to, in one sentence; beside the word Today. */
export function todayText(totals: Totals): string {
  const values = {
    saved: joules(totals.saved_joules),
    share: percent(totals.saving),
    source: sourceText(totals.source),
    count: whole(totals.completions),
  };
  return totals.completions === 1
    ? t('{saved} saved, {share}, {source}; {count} completion.', values)
    : t('{saved} saved, {share}, {source}; {count} completions.', values);
}
