/** The threshold view in the side bar: a native slider, and what the last completion did at it. */
import { randomBytes } from 'node:crypto';

import * as vscode from 'vscode';

import { joules, mean, percent, plural, sourceText } from '../state/format';
import { writeSetting } from '../settings';
import type { Snapshot, Store } from '../state/store';
import { Throttle } from '../state/throttle';
import { page } from './page';
import type { Calibration, Point, Stop } from './calibration';
import { roundThreshold, unused } from './value';

/** What the page is told. */
export interface ViewState {
  readonly threshold: number;
  /** Why the threshold has no effect now; empty: it has. */
  readonly unused: string;
  readonly stops: readonly Stop[];
  readonly curve: readonly Point[];
  readonly exits: readonly number[];
  readonly layersTotal: number;
  readonly summary: string;
  readonly today: string;
}

/** What the page says: it is there, decoding should be fast, or the slider was moved. */
type FromPage = { readonly type: 'ready' } | { readonly type: 'fast' } | { readonly type: 'threshold'; readonly value: number };

export function viewState({ settings, energy }: Snapshot, { stops, curve }: Calibration): ViewState {
  const last = mean(energy?.last_exits ?? []);
  const total = energy?.layers_total ?? 0;
  const today = energy?.today;
  return {
    threshold: settings.threshold,
    unused: unused(settings.decoding),
    stops,
    curve,
    exits: energy?.last_exits ?? [],
    layersTotal: total,
    summary: last === null ? 'No completion yet.' : `${last.toFixed(1)} of ${total} layers per token on average`,
    today:
      energy === null || !today || today.completions === 0
        ? 'Nothing yet.'
        : `${joules(today.saved_joules)} saved (${percent(today.saving)}) in ${plural(today.completions, 'completion')}, ${sourceText(energy.source)}.`,
  };
}

export class ThresholdView implements vscode.WebviewViewProvider, vscode.Disposable {
  private view: vscode.WebviewView | undefined;
  private sent = '';
  private readonly throttle = new Throttle(() => void this.post(), 100);
  private readonly listener: { dispose(): void };

  constructor(
    private readonly extensionUri: vscode.Uri,
    private readonly store: Store,
    private readonly calibration: () => Promise<Calibration>,
  ) {
    this.listener = store.onChange(() => this.throttle.request());
  }

  resolveWebviewView(view: vscode.WebviewView): void {
    this.view = view;
    const media = vscode.Uri.joinPath(this.extensionUri, 'extension', 'media');
    const uri = (name: string) => view.webview.asWebviewUri(vscode.Uri.joinPath(media, name)).toString();
    view.webview.options = { enableScripts: true, localResourceRoots: [media] };
    view.webview.onDidReceiveMessage((message: FromPage) => void this.receive(message));
    view.onDidChangeVisibility(() => this.throttle.request());
    view.onDidDispose(() => (this.view = undefined));
    view.webview.html = page({
      nonce: randomBytes(16).toString('base64url'),
      cspSource: view.webview.cspSource,
      script: uri('threshold.js'),
      style: uri('threshold.css'),
    });
  }

  dispose(): void {
    this.throttle.dispose();
    this.listener.dispose();
  }

  private async receive(message: FromPage): Promise<void> {
    if (message.type === 'ready') {
      this.sent = '';
      await this.post();
    } else if (message.type === 'fast') {
      await writeSetting('decoding', 'fast');
    } else if (Number.isFinite(message.value)) {
      await writeSetting('threshold', roundThreshold(message.value));
    }
  }

  private async post(): Promise<void> {
    if (!this.view?.visible) {
      this.sent = '';
      return;
    }
    const state = viewState(this.store.snapshot, await this.calibration());
    const key = JSON.stringify(state);
    if (key !== this.sent) {
      this.sent = key;
      await this.view.webview.postMessage(state);
    }
  }
}
