/**
 * Names and shapes of the messages between extension and front (`green-code lsp`); described in docs/protocol.md.
 *
 * The other half is daemon/green_code/link/messages.py. A test compares the string literals of both files, so each is
 * written out here once, as it is there.
 */

export const LSP_ACCEPTED = 'greenCode/accepted';
export const LSP_DISMISSED = 'greenCode/dismissed';
export const LSP_EXPLAIN = 'greenCode/explain';
export const LSP_REPORT = 'greenCode/report';
export const LSP_RESTART_ENGINE = 'greenCode/restartEngine';
export const LSP_RESET_GATE = 'greenCode/resetGate';
export const LSP_API_KEY = 'greenCode/apiKey';
export const LSP_STATUS = 'greenCode/status';
export const LSP_ENERGY = 'greenCode/energy';

/** Not in the palette: a completion carries it with its id and length, and the editor runs it when the completion is accepted. */
export const COMMAND_ACCEPTED = 'greenCode.accepted';

export const STATES = ['starting', 'loading', 'ready', 'busy', 'paused', 'disabled', 'error'] as const;
export type State = (typeof STATES)[number];

export const DECODINGS = ['full', 'fast', 'exact'] as const;
export type Decoding = (typeof DECODINGS)[number];

/** Why generation ended. The text is usable. */
export const STOP_REASONS = [
  'end_of_line',
  'end_of_block',
  'closing_bracket',
  'repetition',
  'suffix_reached',
  'end_of_text',
  'max_tokens',
  'budget',
  'unsure',
] as const;
export type StopReason = (typeof STOP_REASONS)[number];

/** Why there is no text. */
export const REFUSALS = [
  'cancelled',
  'superseded',
  'empty',
  'gated',
  'unlikely',
  'breaks_code',
  'dismissed',
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
  'endpoint_failed',
  'no_memory',
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
  /** 0…1, or null if unknown. */
  readonly progress: number | null;
  readonly reason: string | null;
}

/** Sums over completions. `saving` is a fraction of `energy_full_joules`. */
export interface Totals {
  readonly completions: number;
  /** Completions whose joules are unknown, which are in no sum of joules. */
  readonly unmeasured: number;
  /** Completions with a text that the editor received. */
  readonly shown: number;
  readonly accepted: number;
  /** Accepted completions whose text was still there 30 seconds later. */
  readonly retained: number;
  readonly tokens: number;
  /** Of the texts shown, and of what was inserted of them. */
  readonly characters: number;
  readonly accepted_characters: number;
  readonly energy_joules: number;
  readonly energy_full_joules: number;
  readonly saved_joules: number;
  readonly saving: number;
  readonly mean_layers: number;
  readonly cpu_seconds: number;
  /** Of the joules: nvml, rapl, server, several joined by a plus, or estimate if one completion's are estimated; unknown if all are; null without completions. */
  readonly source: string | null;
}

/** Completions in `fast` that were repeated at full depth, and how many texts agreed. */
export interface Agreement {
  readonly checks: number;
  readonly agreed: number;
  /** Expected share at the current threshold; null without a calibration. */
  readonly calibrated: number | null;
  /** Thresholds below this are raised to it; null: none is. */
  readonly raised_to: number | null;
}

/** What `greenCode/energy` carries, at most once a second. Figures are cumulative. */
export interface EnergyMessage {
  readonly today: Totals;
  readonly session: Totals;
  readonly mean_layers: number;
  readonly layers_total: number;
  readonly model: string;
  /** The exit layer of each token of the last completion. */
  readonly last_exits: readonly number[];
  readonly threshold: number;
  /** Null before the first check. */
  readonly agreement: Agreement | null;
  readonly on_battery: boolean;
}

/** Who drafted a token; empty: nobody. */
export const DRAFTERS = ['', 'prompt_lookup', 'ngrams', 'exit'] as const;
export type Drafter = (typeof DRAFTERS)[number];

export interface Token {
  readonly text: string;
  readonly layers: number;
  readonly draft: Drafter;
}

export interface LastCompletion {
  readonly text: string;
  readonly tokens: readonly Token[];
  /** Batches that were verified. */
  readonly passes: number;
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
  /** Which sentence: the reason, or a finer one. */
  readonly code: string;
  /** For the sentence's placeholders; `detail` is a failure's own message, in English. */
  readonly values: Readonly<Record<string, string>>;
  readonly message: string;
  /** What the user can do about it; empty: nothing. */
  readonly action: string;
  /** The document of the last request; null before the first. */
  readonly uri: string | null;
  readonly seconds_ago: number | null;
  readonly last: LastCompletion | null;
}

/** The answer to `greenCode/report`. */
export interface Report {
  readonly today: Totals;
  readonly all: Totals;
  /** Of those of `all`, what a GPU drew while the model waited. */
  readonly idle_joules: number;
  readonly by_day: readonly (Totals & { readonly day: string })[];
  readonly by_language: readonly (Totals & { readonly language: string })[];
  readonly by_model: readonly (Totals & { readonly model: string })[];
}
