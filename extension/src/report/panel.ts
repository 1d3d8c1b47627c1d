/** The panel of the energy report. Showing it again updates the same panel. */
import { randomBytes } from 'node:crypto';

import * as vscode from 'vscode';

import { COMMANDS } from '../ids';
import { t } from '../l10n';
import type { Report } from '../protocol';
import type { Suggestions } from '../threshold/suggestions';
import { renderReport } from './html';

/** The only commands that the page's buttons may run. */
const BUTTONS: readonly string[] = [COMMANDS.exportHistory, COMMANDS.deleteHistory, COMMANDS.energyReport];

export class ReportPanel implements vscode.Disposable {
  private panel: vscode.WebviewPanel | undefined;

  constructor(private readonly extensionUri: vscode.Uri) {}

  get visible(): boolean {
    return this.panel !== undefined;
  }

  show(report: Report, gridIntensity: number, suggestions: Suggestions | null): void {
    const media = vscode.Uri.joinPath(this.extensionUri, 'extension', 'media');
    const dist = vscode.Uri.joinPath(this.extensionUri, 'dist');
    this.panel ??= this.create([media, dist]);
    const { webview } = this.panel;
    const uri = (folder: vscode.Uri, name: string) => webview.asWebviewUri(vscode.Uri.joinPath(folder, name)).toString();
    webview.html = renderReport(report, {
      cspSource: webview.cspSource,
      nonce: randomBytes(16).toString('base64url'),
      style: uri(media, 'report.css'),
      script: uri(dist, 'report.js'),
      gridIntensity,
      suggestions,
    });
    this.panel.reveal();
  }

  dispose(): void {
    this.panel?.dispose();
  }

  private create(localResourceRoots: readonly vscode.Uri[]): vscode.WebviewPanel {
    const options = { enableScripts: true, localResourceRoots };
    const panel = vscode.window.createWebviewPanel('greenCode.report', t('common.energyReport'), vscode.ViewColumn.Active, options);
    panel.iconPath = vscode.Uri.joinPath(this.extensionUri, 'extension', 'media', 'leaf-green.svg');
    panel.webview.onDidReceiveMessage(({ command }: { readonly command: string }) => {
      if (BUTTONS.includes(command)) {
        void vscode.commands.executeCommand(command);
      }
    });
    panel.onDidDispose(() => (this.panel = undefined));
    return panel;
  }
}
