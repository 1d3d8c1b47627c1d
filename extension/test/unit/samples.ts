/** Values that several tests use. */
import manifest from '../../../package.json';
import type { EnergyMessage, Totals } from '../../src/protocol';
import type { Settings } from '../../src/settings';
import type { Snapshot } from '../../src/state/store';
import { parseSuggestions } from '../../src/threshold/suggestions';

/** The manifest's defaults, as the editor returns them. */
export const defaults = Object.fromEntries(
  Object.entries(manifest.contributes.configuration.properties).map(([key, { default: value }]) => [key.replace('greenCode.', ''), value]),
) as unknown as Settings;

export const totals: Totals = {
  completions: 120,
  unmeasured: 0,
  shown: 10,
  accepted: 3,
  retained: 2,
  tokens: 140,
  characters: 400,
  accepted_characters: 96,
  energy_joules: 24,
  energy_full_joules: 36.4,
  saved_joules: 12.4,
  saving: 0.342,
  mean_layers: 11.5,
  cpu_seconds: 8,
  source: 'rapl',
};

export const energy: EnergyMessage = {
  today: totals,
  session: { ...totals, completions: 2 },
  mean_layers: 11.5,
  layers_total: 18,
  model: 'gemma-3-270m',
  last_exits: [9, 18, 12],
  threshold: 0.8,
  agreement: null,
  on_battery: false,
};

export function snapshot(change: Partial<Snapshot> = {}): Snapshot {
  const { energy = null } = change;
  return { phase: 'running', detail: '', status: null, energy, today: energy?.today ?? null, settings: defaults, endpoint: '', snooze: null, ...change };
}

const outcome = (accepted: number, right: number, joules: number, rejected: number) => ({
  accepted,
  right,
  joules_per_character: joules,
  shown_per_100: rejected / (1 - right),
  rejected_per_100: rejected,
});

/** The key "suggestions" of a calibration.json. The curve is out of order. */
export const suggestionsJson = {
  reference: { files: 60, characters: 15000, energy_source: 'estimate' },
  always: outcome(0.23, 0.13, 0.8, 10.5),
  curve: [
    { stop: 0.4, ...outcome(0.44, 0.49, 0.2, 4.2) },
    { stop: 0.1, ...outcome(0.34, 0.22, 0.4, 9.1) },
    { stop: 0.6, ...outcome(0.42, 0.63, 0.16, 2.5) },
  ],
  presets: {
    eager: { stop: 0.2, ...outcome(0.41, 0.33, 0.32, 6.8) },
    balanced: { stop: 0.4, ...outcome(0.44, 0.49, 0.2, 4.2) },
    sure: { stop: 0.6, ...outcome(0.42, 0.63, 0.16, 2.5) },
  },
};

export const suggestions = parseSuggestions(suggestionsJson);
