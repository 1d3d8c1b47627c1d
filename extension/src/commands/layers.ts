/** Show Layers: the layers of each token of the last completion, as text. Must not use the editor's API. */
import { t } from '../l10n';
import type { LastCompletion } from '../protocol';
import { joules, mean, percent, sourceText, tenths, threshold, whole } from '../state/format';

const FULL = '█';
const EMPTY = '░';

export function renderLayers(last: LastCompletion | null): string {
  if (last === null || last.tokens.length === 0) {
    return `${t('layers.noCompletionYet')}\n`;
  }
  const total = last.layers_total;
  const average = mean(last.tokens.map(({ layers }) => layers)) ?? 0;
  const digits = String(total).length;
  const rows = last.tokens.map(
    ({ text, layers }) =>
      `${String(layers).padStart(digits)}/${total}  ${FULL.repeat(layers)}${EMPTY.repeat(Math.max(0, total - layers))}  ${visible(text)}`,
  );
  return [
    t('layers.average', {
      average: tenths(average),
      total: whole(total),
      threshold: typeof last.threshold === 'number' ? threshold(last.threshold) : last.threshold,
      decoding: last.decoding,
    }),
    t('layers.joules', {
      used: joules(last.energy_joules),
      share: percent(last.saving),
      source: sourceText(last.energy_source),
    }),
    '',
    ...rows,
    '',
  ].join('\n');
}

/** Marks spaces, tabs and line ends, which are many of a code model's tokens. */
function visible(text: string): string {
  return text.replaceAll(' ', '·').replaceAll('\t', '→').replace(/\r?\n/g, '↵');
}
