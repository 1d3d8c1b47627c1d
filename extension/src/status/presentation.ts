/**
 * What the status item shows, as one function of what the window knows.
 *
 * One icon and one figure; colour for errors only; everything else in the tooltip. Must not know: the editor's API.
 */
import { COMMANDS, ICON } from '../ids';
import type { Agreement, EnergyMessage, State, Totals } from '../protocol';
import { joules, mean, percent, plural, sourceText } from '../state/format';
import type { Snapshot, Today } from '../state/store';

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
  const words = describe(shown, snapshot);
  return {
    shown,
    text: text(shown, snapshot),
    tooltip: tooltip(words, snapshot),
    label: label(words, snapshot),
    error: shown === 'error',
  };
}

/** Our own phase first; the user's switch next; only then what the engine says. */
export function shownState({ phase, status, settings }: Snapshot): Shown {
  if (phase === 'failed') {
    return 'error';
  }
  if (phase === 'setUp' || phase === 'settingUp') {
    return phase;
  }
  if (!settings.enabled) {
    return 'disabled';
  }
  return phase === 'running' ? (status?.state ?? 'starting') : 'starting';
}

function text(shown: Shown, snapshot: Snapshot): string {
  const progress = snapshot.status?.progress ?? null;
  const part = progress === null ? '' : ` ${percent(progress)}`;
  switch (shown) {
    case 'setUp':
      return `${ICON} Set up`;
    case 'settingUp':
      return '$(loading~spin) Setting up';
    case 'starting':
      return '$(loading~spin) Starting';
    case 'downloading':
      return `$(loading~spin) Downloading${part}`;
    case 'loading':
      return `$(loading~spin) Loading${part}`;
    case 'ready':
    case 'busy': // a completion takes a moment: a spinner at each key would be noise
      return savedText(snapshot.today);
    case 'paused':
      return '$(debug-pause) Paused';
    case 'disabled':
      return '$(circle-slash) Off';
    case 'error':
      return '$(error) Green Code';
  }
}

function savedText(today: Today | null): string {
  if (today === null || today.totals.completions === 0) {
    return `${ICON} Green Code`;
  }
  return `${ICON} ${percent(today.totals.saving)} saved${today.source === 'estimate' ? ' est.' : ''}`;
}

const WORDS: Readonly<Record<Shown, string>> = {
  setUp: 'Not set up yet',
  settingUp: 'Setting up',
  starting: 'Starting',
  downloading: 'Downloading the model',
  loading: 'Loading the model',
  ready: 'Ready',
  busy: 'Ready',
  paused: 'Paused',
  disabled: 'Off',
  error: 'Error',
};

/** What is said beside the state. An engine that serves has nothing to add, unless with a reason: a refused bundle, for one. */
function describe(shown: Shown, { detail, status, phase }: Snapshot): string {
  const serves = (shown === 'ready' || shown === 'busy') && (status?.reason ?? null) === null;
  const said = phase === 'running' && shown !== 'disabled' && !serves ? (status?.message ?? '') : detail;
  return said === '' ? WORDS[shown] : `${WORDS[shown]}: ${said}`;
}

function label(words: string, { today, energy }: Snapshot): string {
  if (today === null) {
    return `Green Code. ${words}.`;
  }
  const { totals, source } = today;
  const last = mean(energy?.last_exits ?? []);
  return [
    `Green Code. ${words}.`,
    `Today: ${joules(totals.saved_joules)} saved, ${percent(totals.saving)}, ${sourceText(source)};`,
    `${plural(totals.completions, 'completion')}.`,
    ...(energy === null || last === null ? [] : [`Last completion: ${last.toFixed(1)} of ${energy.layers_total} layers.`]),
  ].join(' ');
}

function tooltip(words: string, snapshot: Snapshot): string {
  const { energy, today, settings } = snapshot;
  const blocks = [`**Green Code**: ${escapeMarkdown(words)}`];
  if (energy !== null) {
    blocks.push(table(energy), layers(energy));
  }
  blocks.push(`Threshold ${settings.threshold.toFixed(2)}, ${escapeMarkdown(settings.decoding)} decoding, ${escapeMarkdown(energy?.model ?? settings.model)}`);
  const notes = [
    ...(energy?.agreement ? [agreementText(energy.agreement)] : []),
    ...(today === null ? [] : [`Energy is ${sourceText(today.source)}.`]),
    ...(energy?.on_battery ? ['The machine runs on battery.'] : []),
  ];
  if (notes.length > 0) {
    blocks.push(notes.map(escapeMarkdown).join('  \n'));
  }
  blocks.push(
    [
      link('Set Threshold', COMMANDS.setThreshold),
      link('Energy Report', COMMANDS.energyReport),
      link('Why No Suggestion?', COMMANDS.whyNoSuggestion),
      link('Log', COMMANDS.showLog),
    ].join(' · '),
  );
  return blocks.join('\n\n');
}

function table({ today, session }: EnergyMessage): string {
  const row = (name: string, figure: (totals: Totals) => string) => `| ${name} | ${figure(today)} | ${figure(session)} |`;
  return [
    '| | Today | Session |',
    '|:--|--:|--:|',
    row('Saved', ({ saved_joules }) => joules(saved_joules)),
    row('Share saved', ({ saving }) => percent(saving)),
    row('Used', ({ energy_joules }) => joules(energy_joules)),
    row('Completions', ({ completions }) => String(completions)),
    row('Accepted', ({ accepted }) => String(accepted)),
  ].join('\n');
}

function layers({ mean_layers: average, layers_total: total, last_exits: exits }: EnergyMessage): string {
  const last = mean(exits);
  const lines = [`Layers per token: ${average.toFixed(1)} of ${total} on average`];
  if (last !== null) {
    lines.push(`Last completion: ${last.toFixed(1)} (${exits.slice(0, 16).join(', ')}${exits.length > 16 ? ', …' : ''})`);
  }
  return lines.join('  \n');
}

function agreementText({ checks, agreed, calibrated, raised_to: raisedTo }: Agreement): string {
  const expected = calibrated === null ? '' : `, ${percent(calibrated)} expected`;
  const raised = raisedTo === null ? '' : ` Because that is too few, no threshold below ${raisedTo.toFixed(2)} is used.`;
  return `Checked at full depth: ${agreed} of ${plural(checks, 'completion')} the same (${percent(agreed / checks)}${expected}).${raised}`;
}

const link = (title: string, command: string) => `[${title}](command:${command})`;

/** What a server says is text, not markup. */
export function escapeMarkdown(value: string): string {
  return value.replace(/[\\`*_{}[\]()#+\-.!|<>~$&]/g, '\\$&').replace(/\s+/g, ' ');
}
