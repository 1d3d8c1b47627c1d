/**
 * What the status item shows, as a function of the window's state: one icon and one figure, colour for errors only, and
 * everything else in the tooltip. Must not use the editor's API.
 */
import { hostOf } from '../endpoint/address';
import { COMMANDS, ICON, ICON_OFF } from '../ids';
import { t } from '../l10n';
import type { Agreement, EnergyMessage, State, Totals } from '../protocol';
import type { Settings } from '../settings';
import { acceptedText, joulesOf, joulesPerCharacter, mean, percent, sourceText, tenths, threshold, todayText, unmeasuredText, whole } from '../state/format';
import type { Snapshot } from '../state/store';
import { modeText, modeTitle } from '../threshold/modes';
import { stopTitle } from '../threshold/stops';
import type { Suggestions } from '../threshold/suggestions';
import { engineMessage } from './engineMessage';
import { switchLanguageTitle, switchModeTitle, type ActiveLanguage } from './switches';

type DisplayState = State | 'setUp' | 'settingUp' | 'noModel' | 'snoozed' | 'otherLanguage';

/**
 * From so many completions today on, the item has a figure. The first ones read their prompts into an empty cache, and what drafts
 * are worth in a document is not known yet, so that their sum swings between losses and savings that say nothing about the day.
 */
const COMPLETIONS_BEFORE_FIGURE = 100;

interface Presentation {
  readonly state: DisplayState;
  readonly text: string;
  /** Markdown; its links run our commands. */
  readonly tooltip: string;
  /** For screen readers: state and figures in words. */
  readonly label: string;
  readonly error: boolean;
}

/** `suggestions`: what was measured for the model, to compare today with. `language`: of the active editor. */
export function present(snapshot: Snapshot, suggestions: Suggestions | null, language: ActiveLanguage | null): Presentation {
  const state = displayState(snapshot, language);
  const details = stateWithDetails(state, snapshot, language);
  return {
    state,
    text: itemText(state, snapshot),
    tooltip: tooltip(state, details, snapshot, suggestions, language),
    label: label(details, snapshot, suggestions),
    error: state === 'error',
  };
}

/** The user's switches come first, then our own phase, then the engine's state. A problem does not concern a language that is off. */
function displayState({ phase, status, settings, snooze }: Snapshot, language: ActiveLanguage | null): DisplayState {
  if (!settings.enabled) {
    return 'disabled';
  }
  if (language?.isOn === false && phase !== 'settingUp') {
    return 'otherLanguage';
  }
  if (phase === 'failed') {
    return 'error';
  }
  if (phase === 'setUp' || phase === 'settingUp') {
    return phase;
  }
  if (snooze !== null) {
    return 'snoozed';
  }
  if (phase === 'running' && status?.state === 'error' && status.reason === 'model_missing') {
    return 'noModel';
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
    case 'noModel':
      return `${ICON} ${t('status.noModel')}`;
    case 'starting':
      return `$(loading~spin) ${t('status.starting')}`;
    case 'loading':
      return `$(loading~spin) ${progress === null ? t('status.loading') : t('status.loadingShare', { share: percent(progress) })}`;
    case 'ready':
    case 'busy': // a completion is short: a spinner at each key would distract
      if (snapshot.endpoint !== '') {
        return `$(cloud) ${hostOf(snapshot.endpoint)}`;
      }
      return savedText(snapshot.today);
    case 'paused':
      return `$(debug-pause) ${t('status.paused')}`;
    case 'disabled':
      return `$(circle-slash) ${t('status.off')}`;
    case 'snoozed':
      return `$(bell-slash) ${snoozeText(snapshot.snooze ?? 0)}`;
    case 'otherLanguage':
      return ICON_OFF;
    case 'error':
      return '$(error) Green Code';
  }
}

function savedText(today: Totals | null): string {
  const hundredths = Math.round((today?.saving ?? 0) * 100);
  if (today === null || today.completions < COMPLETIONS_BEFORE_FIGURE || hundredths === 0) {
    return `${ICON} Green Code`;
  }
  const share = percent(Math.abs(today.saving));
  const isEstimate = today.source === 'estimate';
  if (hundredths < 0) {
    return `${ICON} ${isEstimate ? t('status.spentMoreEstimated', { share }) : t('status.spentMore', { share })}`;
  }
  return `${ICON} ${isEstimate ? t('status.savedEstimated', { share }) : t('status.saved', { share })}`;
}

function snoozeText(minutes: number): string {
  return minutes === Infinity ? t('status.snoozed') : t('status.minutesLeft', { count: whole(minutes) });
}

function stateText(state: DisplayState, { snooze }: Snapshot, language: ActiveLanguage | null): string {
  switch (state) {
    case 'setUp':
      return t('status.notSetUpYet');
    case 'settingUp':
      return t('status.settingUp');
    case 'noModel':
      return t('status.noModelYet');
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
    case 'snoozed':
      return snooze === Infinity ? t('status.snoozedUntilRestart') : t('status.snoozedFor', { count: whole(snooze ?? 0) });
    case 'otherLanguage':
      return t('status.offFor', { name: language?.name ?? '' });
    case 'error':
      return t('status.error');
  }
}

/**
 * The state, with details where they matter: none when off, and none when ready, unless there is a reason such as a refused
 * bundle.
 */
function stateWithDetails(state: DisplayState, snapshot: Snapshot, language: ActiveLanguage | null): string {
  const { detail, status, phase } = snapshot;
  const text = stateText(state, snapshot, language);
  const isOff = state === 'disabled' || state === 'snoozed' || state === 'otherLanguage';
  const isFine = (state === 'ready' || state === 'busy') && (status?.reason ?? null) === null;
  const message = phase !== 'running' ? detail : status === null ? '' : engineMessage(status);
  return isOff || isFine || message === '' ? text : `${text}: ${message}`;
}

function label(details: string, { today, energy, endpoint }: Snapshot, suggestions: Suggestions | null): string {
  const last = mean(energy?.last_exits ?? []);
  return [
    `Green Code. ${details.replace(/\.$/, '')}.`,
    ...(endpoint === '' ? [] : [t('endpoint.serves', { host: hostOf(endpoint) })]),
    ...(today === null ? [] : [t('status.today', { figures: `${todayText(today)} ${acceptedText(today, suggestions)}`.trim() })]),
    ...(today === null || energy === null || last === null
      ? []
      : [t('status.lastCompletionLabel', { average: tenths(last), total: whole(energy.layers_total) })]),
  ].join(' ');
}

function tooltip(state: DisplayState, details: string, snapshot: Snapshot, suggestions: Suggestions | null, language: ActiveLanguage | null): string {
  const { energy, today, settings, endpoint } = snapshot;
  const exitsEarly = settings.decoding === 'fast' && endpoint === ''; // else the last layer decodes every token, and nothing is checked
  const blocks = [[`**Green Code**: ${escapeMarkdown(details)}`, ...wayBack(state, language)].join(' · ')];
  if (endpoint !== '') {
    blocks.push(escapeMarkdown(t('endpoint.serves', { host: hostOf(endpoint) })));
  }
  if (energy !== null) {
    blocks.push(table(energy), ...(exitsEarly ? [layers(energy)] : []));
  }
  blocks.push(
    t('status.settings', { stop: stopTitle(settings.suggestions), model: escapeMarkdown(endpoint || (energy?.model ?? settings.model)) }),
  );
  if (endpoint === '') {
    blocks.push(`${modeLine(settings)} ${link(switchModeTitle(settings.decoding), COMMANDS.switchMode)}`);
  }
  const notes = [
    ...(exitsEarly && energy?.agreement ? agreementTexts(energy.agreement) : []),
    ...(today === null ? [] : [acceptedText(today, suggestions), unmeasuredText(today), t('common.energySource', { source: sourceText(today.source) })]),
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

/** A link that ends the state, where the user chose it. */
function wayBack(state: DisplayState, language: ActiveLanguage | null): readonly string[] {
  switch (state) {
    case 'disabled':
      return [link(t('menu.turnOn'), COMMANDS.toggle)];
    case 'snoozed':
      return [link(t('snooze.resume'), COMMANDS.resume)];
    case 'otherLanguage':
      return language === null ? [] : [link(escapeMarkdown(switchLanguageTitle(language)), COMMANDS.toggleLanguage)];
    default:
      return [];
  }
}

/** What acts: the threshold only in `fast`. */
function modeLine({ decoding, threshold: value }: Settings): string {
  const line = t('status.mode', { mode: modeTitle(decoding), detail: modeText(decoding) });
  return decoding === 'fast' ? `${line} ${t('status.threshold', { threshold: threshold(value) })}` : line;
}

function table({ today, session }: EnergyMessage): string {
  const row = (name: string, figure: (totals: Totals) => string) => `| ${name} | ${figure(today)} | ${figure(session)} |`;
  return [
    `| | ${t('common.today')} | ${t('status.session')} |`,
    '|:--|--:|--:|',
    row(t('common.saved'), (totals) => joulesOf(totals, totals.saved_joules)),
    row(t('common.shareSaved'), (totals) => (totals.source === 'unknown' ? '–' : percent(totals.saving))),
    row(t('common.used'), (totals) => joulesOf(totals, totals.energy_joules)),
    row(t('common.completions'), ({ completions }) => whole(completions)),
    row(t('figures.suggestionsAccepted'), acceptance),
    row(t('common.charactersAccepted'), ({ accepted_characters }) => whole(accepted_characters)),
    row(t('common.joulesPerCharacter'), joulesPerCharacter),
  ].join('\n');
}

/** How many of the suggestions shown were accepted, and their share. */
function acceptance({ accepted, shown }: Totals): string {
  const found = t('figures.ofShown', { accepted: whole(accepted), shown: whole(shown) });
  return shown === 0 ? '–' : `${found} (${percent(accepted / shown)})`;
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
