/** Show Layers: which token of the last completion needed how many layers, as text. Must not know: the editor's API. */
import type { LastCompletion } from '../protocol';
import { joules, mean, percent, sourceText } from '../state/format';

const FULL = '█';
const EMPTY = '░';

export function renderLayers(last: LastCompletion | null): string {
  if (last === null || last.tokens.length === 0) {
    return 'No completion yet. Type in a Python or Java file, then ask again.\n';
  }
  const total = last.layers_total;
  const average = mean(last.tokens.map(({ layers }) => layers)) ?? 0;
  const digits = String(total).length;
  const rows = last.tokens.map(
    ({ text, layers }) =>
      `${String(layers).padStart(digits)}/${total}  ${FULL.repeat(layers)}${EMPTY.repeat(Math.max(0, total - layers))}  ${visible(text)}`,
  );
  return [
    `${average.toFixed(1)} of ${total} layers per token on average; threshold ${last.threshold}, ${last.decoding} decoding.`,
    `${joules(last.energy_joules)} used, ${percent(last.saving)} saved against full depth (${sourceText(last.energy_source)}).`,
    '',
    ...rows,
    '',
  ].join('\n');
}

/** Spaces and line ends are most of what a code model says: show them. */
function visible(text: string): string {
  return text.replaceAll(' ', '·').replaceAll('\t', '→').replace(/\r?\n/g, '↵');
}
