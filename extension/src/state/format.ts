/** Figures as people read them. One place, so that the item, the view and the report agree. */

/** `0.342` → `34%`. A loss shows as what it is, with a minus sign. */
export function percent(fraction: number): string {
  const rounded = Math.round(fraction * 100);
  return rounded < 0 ? `\u2212${-rounded}%` : `${rounded}%`;
}

/** Three significant figures with the unit that suits the size: mJ, J, kJ. */
export function joules(value: number): string {
  const size = Math.abs(value);
  const sign = value < 0 ? '\u2212' : '';
  if (size === 0) {
    return '0 J';
  }
  if (size < 1) {
    return `${sign}${figures(size * 1000)} mJ`;
  }
  return size < 1000 ? `${sign}${figures(size)} J` : `${sign}${figures(size / 1000)} kJ`;
}

const THREE_FIGURES = new Intl.NumberFormat('en', { maximumSignificantDigits: 3 });

const JOULES_PER_KILOWATT_HOUR = 3_600_000;

export function kilowattHours(joules: number): string {
  return `${signed(joules / JOULES_PER_KILOWATT_HOUR)} kWh`;
}

/** Of CO2 equivalent, at a grid intensity in grams per kilowatt-hour. */
export function carbon(joules: number, gridIntensity: number): string {
  return `${signed((joules / JOULES_PER_KILOWATT_HOUR) * gridIntensity)} g`;
}

function signed(value: number): string {
  return `${value < 0 ? '\u2212' : ''}${THREE_FIGURES.format(Math.abs(value))}`;
}

function figures(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

export function mean(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Says where a figure comes from, in words; `estimate` must never look like a measurement. */
export function sourceText(source: string): string {
  switch (source) {
    case 'nvml':
      return 'measured on the GPU (NVML)';
    case 'rapl':
      return 'measured on the CPU (RAPL)';
    case 'estimate':
      return 'estimated from processor time';
    default:
      return source;
  }
}

export function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
