/** The threshold view in the side bar: the stops with what they gave, the modes, the last completion, and today. */
import { randomBytes } from 'node:crypto';

import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { failure } from '../log';
import { DECODINGS } from '../protocol';
import { writeSetting } from '../settings';
import type { Store } from '../state/store';
import { Throttle } from '../state/throttle';
import type { Calibration } from './calibration';
import { scaleMessage, stateMessage, type FromPage, type WriteMessage, type WrittenMessage } from './messages';
import { page } from './page';
import { isStop } from './stops';
import { roundThreshold } from './value';

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
        this.resetSent(); // a slider shows a value that was not written
        this.throttle.request();
      });
    });
    view.onDidChangeVisibility(() => this.throttle.request());
    view.onDidDispose(() => {
      if (this.view === view) {
        this.view = undefined; // else it has moved, and the other one is there already
      }
    });
    view.webview.html = page({
      nonce: randomBytes(16).toString('base64url'),
      cspSource: view.webview.cspSource,
      script: uri('threshold.js'),
      styles: ['threshold.css', 'chart.css'].map(uri),
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
    } else if (message.type === 'layers') {
      await vscode.commands.executeCommand(COMMANDS.showLayers);
    } else if (message.type === 'mode') {
      await writeMode(message.value);
    } else {
      try {
        await write(message);
      } finally {
        await this.view?.webview.postMessage({ ...message, type: 'written' } satisfies WrittenMessage);
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
    const message = stateMessage(this.store.snapshot, found.curve);
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

/** A page's message can hold anything. */
async function writeMode(value: unknown): Promise<void> {
  const mode = DECODINGS.find((decoding) => decoding === value);
  if (mode !== undefined) {
    await writeSetting('decoding', mode);
  }
}

async function write({ setting, value }: WriteMessage): Promise<void> {
  if (setting === 'suggestions' && isStop(value)) {
    await writeSetting(setting, value);
  } else if (setting === 'threshold' && Number.isFinite(value)) {
    await writeSetting(setting, roundThreshold(value));
  }
}
