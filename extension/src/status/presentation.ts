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
      return `${ICON} ${t('status.setUp')}`;
    case 'settingUp':
      return `$(loading~spin) ${t('status.settingUp')}`;
    case 'starting':
      return `$(loading~spin) ${t('status.starting')}`;
    case 'loading':
      return `$(loading~spin) ${progress === null ? t('status.loading') : t('status.loadingShare', { share: percent(progress) })}`;
    case 'ready':
    case 'busy': // a completion is short: a spinner at each key would distract
      return savedText(snapshot.today);
    case 'paused':
      return `$(debug-pause) ${t('status.paused')}`;
    case 'disabled':
      return `$(circle-slash) ${t('status.off')}`;
    case 'error':
      return '$(error) Green Code';
  }
}

function savedText(today: Totals | null): string {
  if (today === null || today.completions === 0) {
    return `${ICON} Green Code`;
  }
  const share = percent(Math.abs(today.saving));
  const isEstimate = today.source === 'estimate';
  if (today.saving < 0) {
    return `${ICON} ${isEstimate ? t('status.spentMoreEstimated', { share }) : t('status.spentMore', { share })}`;
  }
  return `${ICON} ${isEstimate ? t('status.savedEstimated', { share }) : t('status.saved', { share })}`;
}

function stateText(state: DisplayState): string {
  switch (state) {
    case 'setUp':
      return t('status.notSetUpYet');
    case 'settingUp':
      return t('status.settingUp');
    case 'starting':
      return t('status.starting');
    case 'loading':
      return t('status.loadingModel');
    case 'ready':
    case 'busy':
      return t('status.ready');
    case 'paused':
      return t('status.paused');
    case 'disabled':
      return t('status.off');
    case 'error':
      return t('status.error');
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
    ...(today === null ? [] : [t('status.today', { figures: `${todayText(today)} ${acceptedText(today, suggestions)}`.trim() })]),
    ...(today === null || energy === null || last === null
      ? []
      : [t('status.lastCompletionLabel', { average: tenths(last), total: whole(energy.layers_total) })]),
  ].join(' ');
}

function tooltip(details: string, snapshot: Snapshot, suggestions: Suggestions | null): string {
  const { energy, today, settings } = snapshot;
  const blocks = [`**Green Code**: ${escapeMarkdown(details)}`];
  if (energy !== null) {
    blocks.push(table(energy), layers(energy));
  }
  blocks.push(
    t('status.settings', {
      stop: stopTitle(settings.suggestions),
      threshold: threshold(settings.threshold),
      decoding: escapeMarkdown(settings.decoding),
      model: escapeMarkdown(energy?.model ?? settings.model),
    }),
  );
  const notes = [
    ...(energy?.agreement ? agreementTexts(energy.agreement) : []),
    ...(today === null ? [] : [acceptedText(today, suggestions), t('common.energySource', { source: sourceText(today.source) })]),
    ...(energy?.on_battery ? [t('status.onBattery')] : []),
  ].filter(Boolean);
  if (notes.length > 0) {
    blocks.push(notes.map(escapeMarkdown).join('  \n'));
  }
  blocks.push(
    [
      link(t('menu.setThreshold'), COMMANDS.setThreshold),
      link(t('common.energyReport'), COMMANDS.energyReport),
      link(t('menu.why'), COMMANDS.whyNoSuggestion),
      link(t('status.log'), COMMANDS.showLog),
    ].join(' · '),
  );
  return blocks.join('\n\n');
}

function table({ today, session }: EnergyMessage): string {
  const row = (name: string, figure: (totals: Totals) => string) => `| ${name} | ${figure(today)} | ${figure(session)} |`;
  return [
    `| | ${t('common.today')} | ${t('status.session')} |`,
    '|:--|--:|--:|',
    row(t('common.saved'), ({ saved_joules }) => joules(saved_joules)),
    row(t('common.shareSaved'), ({ saving }) => percent(saving)),
    row(t('common.used'), ({ energy_joules }) => joules(energy_joules)),
    row(t('common.completions'), ({ completions }) => whole(completions)),
    row(t('common.accepted'), ({ accepted }) => whole(accepted)),
    row(t('common.charactersAccepted'), ({ accepted_characters }) => whole(accepted_characters)),
    row(t('common.joulesPerCharacter'), joulesPerCharacter),
  ].join('\n');
}

function layers({ mean_layers: average, layers_total: total, last_exits: exits }: EnergyMessage): string {
  const last = mean(exits);
  const lines = [t('status.layersPerToken', { average: tenths(average), total: whole(total) })];
  if (last !== null) {
    const each = `${exits.slice(0, 16).map(whole).join(', ')}${exits.length > 16 ? ', …' : ''}`;
    lines.push(t('status.lastCompletion', { average: tenths(last), each }));
  }
  return lines.join('  \n');
}

function agreementTexts({ checks, agreed, calibrated, raised_to: raisedTo }: Agreement): readonly string[] {
  const values = { agreed: whole(agreed), count: whole(checks), share: percent(agreed / checks) };
  const found =
    checks === 1
      ? t('status.checkedOne', values)
      : t('status.checked', values);
  return [
    calibrated === null ? found : `${found} ${t('status.expectedAgreement', { share: percent(calibrated) })}`,
    ...(raisedTo === null ? [] : [t('status.thresholdRaised', { threshold: threshold(raisedTo) })]),
  ];
}

const link = (title: string, command: string) => `[${title}](command:${command})`;

/** Makes markup and line breaks plain text. A figure keeps the non-breaking space before its percent sign. */
export function escapeMarkdown(value: string): string {
  return value.replace(/[\\`*_{}[\]()#+\-.!|<>~$&]/g, '\\$&').replace(/[^\S\u00a0]+/g, ' ');
}
