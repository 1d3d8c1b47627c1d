/** Ids that the manifest declares and the code uses. A unit test compares them with package.json. */

export const COMMANDS = {
  setThreshold: 'greenCode.setThreshold',
  setThresholdQuickPick: 'greenCode.setThresholdQuickPick',
  toggle: 'greenCode.toggle',
  energyReport: 'greenCode.energyReport',
  exportHistory: 'greenCode.exportHistory',
  deleteHistory: 'greenCode.deleteHistory',
  whyNoSuggestion: 'greenCode.whyNoSuggestion',
  showLayers: 'greenCode.showLayers',
  resetGate: 'greenCode.resetGate',
  restartEngine: 'greenCode.restartEngine',
  showLog: 'greenCode.showLog',
  setUp: 'greenCode.setUp',
  diagnose: 'greenCode.diagnose',
  menu: 'greenCode.menu',
} as const;

export const VIEW_THRESHOLD = 'greenCode.threshold';

/** The walkthrough, as the editor's command opens it. */
export const WALKTHROUGH = 'green-code.green-code#start';

/** For each step of the walkthrough: the context key that completes it. */
export const CONTEXTS = {
  setUp: 'greenCode.hasRun',
  complete: 'greenCode.hasAccepted',
  threshold: 'greenCode.hasSetThreshold',
  report: 'greenCode.hasShownReport',
} as const;

/** The leaf in extension/media/leaf.woff: the editor's icon font has none. */
export const ICON = '$(green-code-leaf)';
