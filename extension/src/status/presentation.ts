/**
 * What the status item shows, as a function of the window's state: one icon and one figure, colour for errors only, and
 * everything else in the tooltip. Must not use the editor's API.
 */
import { COMMANDS, ICON } from '../ids';
import { t } from '../l10n';
import type { Agreement, EnergyMessage, State, Totals } from '../protocol';
import { acceptedText, joules, joulesPerCharacter, mean, percent, sourceText, tenths, threshold, todayText, whole } from '../state/format';
import type { Snapshot } from '../state/store';
import { stopTitle } from '../threshold/stops';
import type { Suggestions } from '../threshold/suggestions';

type DisplayState = State | 'setUp' | 'settingUp';

interface Presentation {
  readonly state: DisplayState;
  readonly text: string;
  /** Markdown; its links run our commands. */
  readonly tooltip: string;
  /** For screen readers: state and figures in words. */
  readonly label: string;
  readonly error: boolean;
}

/** `suggestions`: what was measured for the model, to compare today with. */
export function present(snapshot: Snapshot, suggestions: Suggestions | null): Presentation {
  const state = displayState(snapshot);
  const details = stateWithDetails(state, snapshot);
  return {
    state,
    text: itemText(state, snapshot),
    tooltip: tooltip(details, snapshot, suggestions),
    label: label(details, snapshot, suggestions),
    error: state === 'error',
  };
}

/** The user's switch comes first, then our own phase, then the engine's state. */
function displayState({ phase, status, settings }: Snapshot): DisplayState {
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

function itemText(state: DisplayState, snapshot: Snapshot): string {
  const progress = snapshot.status?.progress ?? null;
  switch (state) {
    case 'setUp':
      return `${ICON} ${t('Set up')}`;
    case 'settingUp':
      return `$(loading~spin) ${t('Setting up')}`;
    case 'starting':
      return `$(loading~spin) ${t('Starting')}`;
    case 'loading':
      return `$(loading~spin) ${progress === null ? t('Loading') : t('Loading {share}', { share: percent(progress) })}`;
    case 'ready':
    case 'busy': // a completion is short: a spinner at each key would distract
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

function stateText(state: DisplayState): string {
  switch (state) {
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
 * The state, with details where they matter: none when off, and none when ready, unless there is a reason such as a refused
 * bundle. The engine's message is the daemon's sentence, in English.
 */
function stateWithDetails(state: DisplayState, { detail, status, phase }: Snapshot): string {
  const isFine = (state === 'ready' || state === 'busy') && (status?.reason ?? null) === null;
  const message = phase === 'running' ? (status?.message ?? '') : detail;
  return state === 'disabled' || isFine || message === '' ? stateText(state) : `${stateText(state)}: ${message}`;
}

function label(details: string, { today, energy }: Snapshot, suggestions: Suggestions | null): string {
  const last = mean(energy?.last_exits ?? []);
  return [
    `Green Code. ${details}.`,
    ...(today === null ? [] : [t('Today: {figures}', { figures: `${todayText(today)} ${acceptedText(today, suggestions)}`.trim() })]),
    ...(today === null || energy === null || last === null
      ? []
      : [t('Last completion: {average} of {total} layers.', { average: tenths(last), total: whole(energy.layers_total) })]),
  ].join(' ');
}

function tooltip(details: string, snapshot: Snapshot, suggestions: Suggestions | null): string {
  const { energy, today, settings } = snapshot;
  const blocks = [`**Green Code**: ${escapeMarkdown(details)}`];
  if (energy !== null) {
    blocks.push(table(energy), layers(energy));
  }
  blocks.push(
    t('Suggestions: {stop}. Threshold {threshold}, {decoding} decoding, {model}', {
      stop: stopTitle(settings.suggestions),
      threshold: threshold(settings.threshold),
      decoding: escapeMarkdown(settings.decoding),
      model: escapeMarkdown(energy?.model ?? settings.model),
    }),
  );
  const notes = [
    ...(energy?.agreement ? agreementTexts(energy.agreement) : []),
    ...(today === null ? [] : [acceptedText(today, suggestions), t('Energy: {source}.', { source: sourceText(today.source) })]),
    ...(energy?.on_battery ? [t('This machine is running on battery.')] : []),
  ].filter(Boolean);
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
    row(t('Characters accepted'), ({ accepted_characters }) => whole(accepted_characters)),
    row(t('Joules per accepted character'), joulesPerCharacter),
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
      ? t('Checked at full depth: {agreed} of {count} completion agreed ({share}).', values)
      : t('Checked at full depth: {agreed} of {count} completions agreed ({share}).', values);
  return [
    calibrated === null ? found : `${found} ${t('Expected: {share}.', { share: percent(calibrated) })}`,
    ...(raisedTo === null ? [] : [t('Agreement is too low, so no threshold below {threshold} is used.', { threshold: threshold(raisedTo) })]),
  ];
}

const link = (title: string, command: string) => `[${title}](command:${command})`;

/** Makes markup and line breaks plain text. A figure keeps the non-breaking space before its percent sign. */
export function escapeMarkdown(value: string): string {
  return value.replace(/[\\`*_{}[\]()#+\-.!|<>~$&]/g, '\\$&').replace(/[^\S\u00a0]+/g, ' ');
}
