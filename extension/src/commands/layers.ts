/** Show Layers: how each token of the last completion came about, as text. Must not use the editor's API. */
import { t } from '../l10n';
import { DRAFTERS, type Drafter, type LastCompletion, type Token } from '../protocol';
import { joules, mean, percent, sourceText, tenths, threshold, whole } from '../state/format';
import { modeTitle } from '../threshold/modes';

const FULL = '█';
const EMPTY = '░';

/** In `exact` every layer checks every token, so who drafted it tells more than its layers. */
export function renderLayers(last: LastCompletion | null): string {
  if (last === null || last.tokens.length === 0) {
    return `${t('layers.noCompletionYet')}\n`;
  }
  return [...(last.decoding === 'exact' ? drafts(last) : depths(last)), ''].join('\n');
}

function depths(last: LastCompletion): readonly string[] {
  const { tokens, layers_total: total } = last;
  const digits = String(total).length;
  return [
    t('layers.average', {
      average: tenths(mean(tokens.map(({ layers }) => layers)) ?? 0),
      total: whole(total),
      threshold: typeof last.threshold === 'number' ? threshold(last.threshold) : last.threshold,
      mode: modeTitle(last.decoding),
    }),
    energy(last),
    '',
    ...tokens.map(
      ({ text, layers }) =>
        `${String(layers).padStart(digits)}/${total}  ${FULL.repeat(layers)}${EMPTY.repeat(Math.max(0, total - layers))}  ${visible(text)}`,
    ),
  ];
}

function drafts(last: LastCompletion): readonly string[] {
  const { tokens, passes, layers_total: total } = last;
  const drafted = tokens.filter(({ draft }) => draft !== '').length;
  const width = Math.max(...tokens.map((token) => origin(token).length));
  return [
    t('layers.passes', {
      tokens: tokens.length === 1 ? t('layers.oneToken') : t('layers.tokens', { count: whole(tokens.length) }),
      passes: passes === 1 ? t('layers.onePass') : t('layers.manyPasses', { count: whole(passes) }),
    }),
    drafted === 0 ? t('layers.noneDrafted') : t('layers.drafted', { count: whole(drafted), origins: origins(tokens) }),
    t('layers.checked', { total: whole(total) }),
    energy(last),
    '',
    ...tokens.map((token) => `${origin(token).padEnd(width)}  ${visible(token.text)}`),
  ];
}

/** How many tokens each drafter has, in the order of the drafters. */
function origins(tokens: readonly Token[]): string {
  return DRAFTERS.filter((drafter) => drafter !== '')
    .map((drafter) => ({ drafter, count: tokens.filter(({ draft }) => draft === drafter).length }))
    .filter(({ count }) => count > 0)
    .map(({ drafter, count }) => t('layers.origin', { count: whole(count), drafter: drafterText(drafter) }))
    .join(', ');
}

/** A drafter with its technical name. */
function drafterText(drafter: Exclude<Drafter, ''>): string {
  switch (drafter) {
    case 'prompt_lookup':
      return t('layers.promptLookup');
    case 'ngrams':
      return t('layers.ngrams');
    case 'exit':
      return t('layers.exit');
  }
}

function origin({ draft, layers }: Token): string {
  switch (draft) {
    case '':
      return t('layers.fromModel');
    case 'prompt_lookup':
      return t('layers.fromFile');
    case 'ngrams':
      return t('layers.fromCommonCode');
    case 'exit':
      return t('layers.byLayer', { layer: whole(layers) });
  }
}

function energy(last: LastCompletion): string {
  const values = { used: joules(last.energy_joules), share: percent(Math.abs(last.saving)), source: sourceText(last.energy_source) };
  return last.saving < 0 ? t('layers.moreJoules', values) : t('layers.joules', values);
}

/** Marks spaces, tabs and line ends, which are many of a code model's tokens. */
function visible(text: string): string {
  return text.replaceAll(' ', '·').replaceAll('\t', '→').replace(/\r?\n/g, '↵');
}
