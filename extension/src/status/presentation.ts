/**
 * What the status item shows, as one function of what the window knows.
 *
 * One icon and one figure; colour for errors only; everything else in the tooltip. Must not know: the editor's API.
 */
import { COMMANDS, ICON } from '../ids';
import { t } from '../l10n';
import type { Agreement, EnergyMessage, State, Totals } from '../protocol';
import { joules, mean, percent, sourceText, tenths, threshold, todayText, whole } from '../state/format';
import type { Snapshot } from '../state/store';

export type Shown = State | 'setUp' | 'settingUp';

export interface Presentation {
  readonly shown: Shown;
  readonly text: string;
  /** Markdown; its links run our commands. */
  readonly tooltip: string;
  /** For screen readers: the figures in words. */
  readonly label: string;
  readonly error: boolean;
}

export function present(snapshot: Snapshot): Presentation {
  const shown = shownState(snapshot);
  const state = describe(shown, snapshot);
  return {
    shown,
    text: text(shown, snapshot),
    tooltip: tooltip(state, snapshot),
    label: label(state, snapshot),
    error: shown === 'error',
  };
}

/** The user's switch first; our own phase next; only then what the engine says. */
export function shownState({ phase, status, settings }: Snapshot): Shown {
  if (!settings.enabled) {
    return 'disabled';
  }
  if (phase === 'failed') {
    return 'error';
  }
  if (phase === 'setUp' || phase === 'settingUp') {
    return phase;
  }
  return phase === 'running' ? (status?.state ?? 'starting') : 'starting';
}

function text(shown: Shown, snapshot: Snapshot): string {
  const progress = snapshot.status?.progress ?? null;
  switch (shown) {
    case 'setUp':
      return `${ICON} ${t('Set up')}`;
    case 'settingUp':
      return `$(loading~spin) ${t('Setting up')}`;
    case 'starting':
      return `$(loading~spin) ${t('Starting')}`;
    case 'loading':
      return `$(loading~spin) ${progress === null ? t('Loading') : t('Loading {share}', { share: percent(progress) })}`;
    case 'ready':
    case 'busy': // a completion takes a moment: a spinner at each key would be noise
      return savedText(snapshot.today);
    case 'paused':
      return `$(debug-pause) ${t('Paused')}`;
    case 'disabled':
      return `$(circle-slash) ${t('Off')}`;
    case 'error':
      return '$(error) Green Code';
  }
}

function savedText(today: Totals | null): string {
  if (today === null || today.completions === 0) {
    return `${ICON} Green Code`;
  }
  const share = percent(today.saving);
  return `${ICON} ${today.source === 'estimate' ? t('{share} saved est.', { share }) : t('{share} saved', { share })}`;
}

function words(shown: Shown): string {
  switch (shown) {
    case 'setUp':
      return t('Not set up yet');
    case 'settingUp':
      return t('Setting up');
    case 'starting':
      return t('Starting');
    case 'loading':
      return t('Loading the model');
    case 'ready':
    case 'busy':
      return t('Ready');
    case 'paused':
      return t('Paused');
    case 'disabled':
      return t('Off');
    case 'error':
      return t('Error');
  }
}

/**
 * What is said beside the state. Off says it all, and an engine that serves has nothing to add, unless with a reason: a refused
 * bundle, for one. What it says is the daemon's sentence, which is English in every language.
 */
function describe(shown: Shown, { detail, status, phase }: Snapshot): string {
  const serves = (shown === 'ready' || shown === 'busy') && (status?.reason ?? null) === null;
  const more = phase === 'running' ? (status?.message ?? '') : detail;
  const said = shown === 'disabled' || serves ? '' : more;
  return said === '' ? words(shown) : `${words(shown)}: ${said}`;
}

function label(state: string, { today, energy }: Snapshot): string {
  const last = mean(energy?.last_exits ?? []);
  return [
    `Green Code. ${state}.`,
    ...(today === null ? [] : [t('Today: {figures}', { figures: todayText(today) })]),
    ...(today === null || energy === null || last === null
      ? []
      : [t('Last completion: {average} of {total} layers.', { average: tenths(last), total: whole(energy.layers_total) })]),
  ].join(' ');
}

function tooltip(state: string, snapshot: Snapshot): string {
  const { energy, today, settings } = snapshot;
  const blocks = [`**Green Code**: ${escapeMarkdown(state)}`];
  if (energy !== null) {
    blocks.push(table(energy), layers(energy));
  }
  blocks.push(
    t('Threshold {threshold}, {decoding} decoding, {model}', {
      threshold: threshold(settings.threshold),
      decoding: escapeMarkdown(settings.decoding),
      model: escapeMarkdown(energy?.model ?? settings.model),
    }),
  );
  const notes = [
    ...(energy?.agreement ? agreementTexts(energy.agreement) : []),
    ...(today === null ? [] : [t('Energy: {source}.', { source: sourceText(today.source) })]),
    ...(energy?.on_battery ? [t('The machine runs on battery.')] : []),
  ];
  if (notes.length > 0) {
    blocks.push(notes.map(escapeMarkdown).join('  \n'));
  }
  blocks.push(
    [
      link(t('Set Threshold'), COMMANDS.setThreshold),
      link(t('Energy Report'), COMMANDS.energyReport),
      link(t('Why No Suggestion?'), COMMANDS.whyNoSuggestion),
      link(t('Log'), COMMANDS.showLog),
    ].join(' · '),
  );
  return blocks.join('\n\n');
}

function table({ today, session }: EnergyMessage): string {
  const row = (name: string, figure: (totals: Totals) => string) => `| ${name} | ${figure(today)} | ${figure(session)} |`;
  return [
    `| | ${t('Today')} | ${t('Session')} |`,
    '|:--|--:|--:|',
    row(t('Saved'), ({ saved_joules }) => joules(saved_joules)),
    row(t('Share saved'), ({ saving }) => percent(saving)),
    row(t('Used'), ({ energy_joules }) => joules(energy_joules)),
    row(t('Completions'), ({ completions }) => whole(completions)),
    row(t('Accepted'), ({ accepted }) => whole(accepted)),
  ].join('\n');
}

function layers({ mean_layers: average, layers_total: total, last_exits: exits }: EnergyMessage): string {
  const last = mean(exits);
  const lines = [t('Layers per token: {average} of {total} on average', { average: tenths(average), total: whole(total) })];
  if (last !== null) {
    const each = `${exits.slice(0, 16).map(whole).join(', ')}${exits.length > 16 ? ', …' : ''}`;
    lines.push(t('Last completion: {average} ({each})', { average: tenths(last), each }));
  }
  return lines.join('  \n');
}

function agreementTexts({ checks, agreed, calibrated, raised_to: raisedTo }: Agreement): readonly string[] {
  const values = { agreed: whole(agreed), count: whole(checks), share: percent(agreed / checks) };
  const found =
    checks === 1
      ? t('Checked at full depth: {agreed} of {count} completion the same ({share}).', values)
      : t('Checked at full depth: {agreed} of {count} completions the same ({share}).', values);
  return [
    calibrated === null ? found : `${found} ${t('Expected: {share}.', { share: percent(calibrated) })}`,
    ...(raisedTo === null ? [] : [t('Because that is too few, no threshold below {threshold} is used.', { threshold: threshold(raisedTo) })]),
  ];
}

const link = (title: string, command: string) => `[${title}](command:${command})`;

/** What a server says is text, not markup; and in one line, though a figure stays together with its percent sign. */
export function escapeMarkdown(value: string): string {
  return value.replace(/[\\`*_{}[\]()#+\-.!|<>~$&]/g, '\\$&').replace(/[^\S\u00a0]+/g, ' ');
}
