/** The threshold view in the side bar: a native slider, the calibration, and the layers of the last completion. */
import { randomBytes } from 'node:crypto';

import * as vscode from 'vscode';

import { t } from '../l10n';
import { failure } from '../log';
import { mean, percent, tenths, threshold as thresholdText, todayText, whole } from '../state/format';
import { writeSetting } from '../settings';
import type { Snapshot, Store } from '../state/store';
import { Throttle } from '../state/throttle';
import { page } from './page';
import { pointAt, presetTitle, type Calibration, type Point } from './calibration';
import { HIGHEST, LOWEST, noEffectReason, roundThreshold, STEP } from './value';

/** To the page: the slider's scale, which changes only with the model. */
interface ScaleMessage {
  readonly type: 'scale';
  readonly presets: readonly { readonly threshold: number; readonly title: string; readonly text: string }[];
  readonly curve: readonly Point[];
  /** For each step from the lowest. The page shows these while the slider moves; it has no words or figures of its own. */
  readonly steps: readonly Step[];
}

export interface Step {
  readonly text: string;
  /** The expected result, as a point on the curve and in words. */
  readonly point: Point | null;
  readonly words: string;
  /** All of it, for a screen reader. */
  readonly label: string;
}

/** To the page: everything else. */
interface StateMessage {
  readonly type: 'state';
  readonly threshold: number;
  /** Why the threshold has no effect now; empty if it has. */
  readonly noEffect: string;
  readonly bars: readonly { readonly share: number; readonly title: string }[];
  readonly barsLabel: string;
  readonly summary: string;
  readonly today: string;
}

/** To the page: the setting was written, or that failed. State messages have the current value from now on. */
interface WrittenMessage {
  readonly type: 'written';
  readonly value: number;
}

/** From the page: it has loaded, decoding should be fast, or the slider was moved. */
type FromPage = { readonly type: 'ready' } | { readonly type: 'fast' } | { readonly type: 'threshold'; readonly value: number };

export function scaleMessage({ presets, curve }: Calibration): ScaleMessage {
  const count = Math.round((HIGHEST - LOWEST) / STEP) + 1;
  return {
    type: 'scale',
    presets: presets.map(({ name, threshold }) => ({ threshold, title: presetTitle(name), text: thresholdText(threshold) })),
    curve,
    steps: Array.from({ length: count }, (_, index) => step(curve, roundThreshold(LOWEST + index * STEP))),
  };
}

function step(curve: readonly Point[], threshold: number): Step {
  const text = thresholdText(threshold);
  const point = pointAt(curve, threshold);
  const words =
    point === null
      ? ''
      : t('On held-out code with an empty cache: {saving} energy saved, {quality} of full-depth quality kept.', {
          saving: percent(point.saving),
          quality: percent(point.quality),
        });
  const state = threshold >= HIGHEST ? t('{threshold}, every layer runs.', { threshold: text }) : `${text}.`;
  return { text, point, words, label: `${state} ${words}`.trim() };
}

export function stateMessage({ settings, energy, today }: Snapshot): StateMessage {
  const exits = energy?.last_exits ?? [];
  const last = mean(exits);
  const layers = energy?.layers_total ?? 0;
  const total = whole(layers);
  return {
    type: 'state',
    threshold: settings.threshold,
    noEffect: noEffectReason(settings.decoding),
    bars: exits.map((exit) => ({ share: exit / layers, title: t('{count} of {total} layers', { count: whole(exit), total }) })),
    barsLabel: t('Layers per token: {each}', { each: exits.map(whole).join(', ') }),
    summary: last === null ? t('No completion yet.') : t('{average} of {total} layers per token on average', { average: tenths(last), total }),
    today: today === null || today.completions === 0 ? t('Nothing yet.') : todayText(today),
  };
}

export class ThresholdView implements vscode.WebviewViewProvider, vscode.Disposable {
  private view: vscode.WebviewView | undefined;
  /** What the page has received. */
  private sent = { calibration: '', state: '' };
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
    view.webview.onDidReceiveMessage((message: FromPage) => {
      this.receive(message).catch((error: unknown) => {
        void vscode.window.showErrorMessage(failure(error));
        this.resetSent(); // the slider shows a value that was not written
        this.throttle.request();
      });
    });
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
      this.resetSent();
      await this.post();
    } else if (message.type === 'fast') {
      await writeSetting('decoding', 'fast');
    } else if (Number.isFinite(message.value)) {
      try {
        await writeSetting('threshold', roundThreshold(message.value));
      } finally {
        await this.view?.webview.postMessage({ type: 'written', value: message.value } satisfies WrittenMessage);
        this.sent.state = ''; // send the current value again, even if it is the same
        this.throttle.request();
      }
    }
  }

  private async post(): Promise<void> {
    if (!this.view?.visible) {
      this.resetSent();
      return;
    }
    const { webview } = this.view;
    const found = await this.calibration();
    const calibration = JSON.stringify(found);
    if (calibration !== this.sent.calibration) {
      this.sent.calibration = calibration;
      await webview.postMessage(scaleMessage(found));
    }
    const message = stateMessage(this.store.snapshot);
    const state = JSON.stringify(message);
    if (state !== this.sent.state) {
      this.sent.state = state;
      await webview.postMessage(message);
    }
  }

  private resetSent(): void {
    this.sent = { calibration: '', state: '' };
  }
}
