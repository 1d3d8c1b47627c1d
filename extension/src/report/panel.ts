/** The panel that shows the energy report; asked for again, it is refreshed where it is. */
import * as vscode from 'vscode';

import type { Report } from '../protocol';
import { renderReport } from './html';

export class ReportPanel implements vscode.Disposable {
  private panel: vscode.WebviewPanel | undefined;

  constructor(private readonly extensionUri: vscode.Uri) {}

  show(report: Report): void {
    const media = vscode.Uri.joinPath(this.extensionUri, 'extension', 'media');
    this.panel ??= this.create(media);
    const { webview } = this.panel;
    webview.html = renderReport(report, {
      cspSource: webview.cspSource,
      style: webview.asWebviewUri(vscode.Uri.joinPath(media, 'report.css')).toString(),
    });
    this.panel.reveal();
  }

  dispose(): void {
    this.panel?.dispose();
  }

  private create(media: vscode.Uri): vscode.WebviewPanel {
    const options = { enableScripts: false, localResourceRoots: [media] };
    const panel = vscode.window.createWebviewPanel('greenCode.report', 'Energy Report', vscode.ViewColumn.Active, options);
    panel.iconPath = vscode.Uri.joinPath(media, 'leaf-green.svg');
    panel.onDidDispose(() => (this.panel = undefined));
    return panel;
  }
}
