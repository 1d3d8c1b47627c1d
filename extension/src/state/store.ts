/**
 * The state of the window: the only source of the status item, the threshold view and the menu.
 *
 * Must not use the editor's API.
 */
import type { EnergyMessage, StatusMessage, Totals } from '../protocol';
import type { Settings } from '../settings';

/** State of the front: `idle` until a document needs it. From `running` on, `status` has the engine's own state. */
export type Phase = 'idle' | 'setUp' | 'settingUp' | 'starting' | 'running' | 'failed';

export interface Snapshot {
  readonly phase: Phase;
  /** One line about `phase`, mainly for `failed`. */
  readonly detail: string;
  readonly status: StatusMessage | null;
  readonly energy: EnergyMessage | null;
  /** From the ledger at the start, then from each `greenCode/energy`; null without completions. */
  readonly today: Totals | null;
  readonly settings: Settings;
  /** The address of the server that answers, which the user has allowed; empty: the local model does. */
  readonly endpoint: string;
  /** Minutes until suggestions return, `Infinity` if only a restart of the editor ends it; null: no snooze. */
  readonly snooze: number | null;
}

/** Whether suggestions are on at the moment. */
export const suggests = ({ settings, snooze }: Snapshot): boolean => settings.enabled && snooze === null;

export class Store {
  private current: Snapshot;
  private readonly listeners = new Set<(snapshot: Snapshot) => void>();

  constructor(settings: Settings) {
    this.current = { phase: 'idle', detail: '', status: null, energy: null, today: null, settings, endpoint: '', snooze: null };
  }

  get snapshot(): Snapshot {
    return this.current;
  }

  update(change: Partial<Snapshot>): void {
    this.current = { ...this.current, ...change };
    for (const listener of this.listeners) {
      listener(this.current);
    }
  }

  onChange(listener: (snapshot: Snapshot) => void): { dispose(): void } {
    this.listeners.add(listener);
    return { dispose: () => void this.listeners.delete(listener) };
  }
}
