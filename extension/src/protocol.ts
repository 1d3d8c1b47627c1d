/**
 * Names and shapes of the conversation with the front (`green-code lsp`); described in docs/protocol.md.
 *
 * The other half of this contract is daemon/green_code/link/messages.py: a test compares the string literals of both
 * files, so write each of them out, once, as it stands there.
 */

export const LSP_ACCEPTED = 'greenCode/accepted';
export const LSP_EXPLAIN = 'greenCode/explain';
export const LSP_REPORT = 'greenCode/report';
export const LSP_RESTART_ENGINE = 'greenCode/restartEngine';
export const LSP_STATUS = 'greenCode/status';
export const LSP_ENERGY = 'greenCode/energy';

/** Not contributed to the palette: a completion carries it, so that the front learns when it was taken. */
export const COMMAND_ACCEPTED = 'greenCode.accepted';

export const STATES = ['starting', 'loading', 'ready', 'busy', 'paused', 'disabled', 'error'] as const;
export type State = (typeof STATES)[number];

export const DECODINGS = ['full', 'fast', 'exact'] as const;
export type Decoding = (typeof DECODINGS)[number];

/** Why generation ended: the text is usable. */
export const STOP_REASONS = [
  'end_of_line',
  'end_of_block',
  'closing_bracket',
  'repetition',
  'suffix_reached',
  'end_of_text',
  'max_tokens',
  'budget',
] as const;
export type StopReason = (typeof STOP_REASONS)[number];

/** Why there is no text. */
export const REFUSALS = [
  'cancelled',
  'superseded',
  'empty',
  'no_context',
  'filtered',
  'in_comment',
  'in_string',
  'paused_on_battery',
  'disabled',
  'engine_starting',
  'engine_lost',
  'engine_hanging',
  'model_missing',
  'model_damaged',
  'bundle_invalid',
  'cache_unwritable',
  'other_version',
  'bad_request',
  'internal_error',
] as const;
export type Refusal = (typeof REFUSALS)[number];

/** What `greenCode/status` carries. */
export interface StatusMessage {
  readonly state: State;
  readonly message: string;
  /** 0…1, or null where nobody knows. */
  readonly progress: number | null;
  readonly reason: string | null;
}

/** Sums over completions; joules are joules, `saving` is a fraction of `energy_full_joules`. */
export interface Totals {
  readonly completions: number;
  /** With a text, which the editor was given. */
  readonly shown: number;
  readonly accepted: number;
  /** Accepted, and still there half a minute later. */
  readonly kept: number;
  readonly tokens: number;
  readonly energy_joules: number;
  readonly energy_full_joules: number;
  readonly saved_joules: number;
  readonly saving: number;
  readonly mean_layers: number;
  readonly cpu_seconds: number;
  /** Of the joules: nvml, rapl, both with a plus, estimate as soon as one completion's are estimated; null without any. */
  readonly source: string | null;
}

/** Completions of `fast` that were done again at full depth, and how many texts were the same. */
export interface Agreement {
  readonly checks: number;
  readonly agreed: number;
  /** The share to expect at the threshold in force; null without a calibration. */
  readonly calibrated: number | null;
  /** The least threshold that is still used; null: none was raised. */
  readonly raised_to: number | null;
}

/** What `greenCode/energy` carries: cumulative, at most once a second. */
export interface EnergyMessage {
  readonly today: Totals;
  readonly session: Totals;
  readonly mean_layers: number;
  readonly layers_total: number;
  readonly model: string;
  /** Of each token of the last completion: the layer that decoded it. */
  readonly last_exits: readonly number[];
  readonly threshold: number;
  /** Null before the first check. */
  readonly agreement: Agreement | null;
  readonly on_battery: boolean;
}

export interface Token {
  readonly text: string;
  readonly layers: number;
}

export interface LastCompletion {
  readonly text: string;
  readonly tokens: readonly Token[];
  readonly layers_total: number;
  readonly energy_joules: number;
  readonly energy_source: string;
  readonly saving: number;
  readonly threshold: number | string;
  readonly decoding: Decoding;
}

/** The answer to `greenCode/explain`. */
export interface Explanation {
  readonly reason: string;
  readonly message: string;
  /** What the user can do about it, or nothing. */
  readonly action: string | null;
  readonly last: LastCompletion | null;
}

/** The answer to `greenCode/report`. */
export interface Report {
  readonly today: Totals;
  readonly all: Totals;
  readonly by_day: readonly (Totals & { readonly day: string })[];
  readonly by_language: readonly (Totals & { readonly language: string })[];
  readonly by_model: readonly (Totals & { readonly model: string })[];
}
