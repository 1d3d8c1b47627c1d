/** Ids that the manifest declares and the code uses. A unit test compares them with package.json. */

export const COMMANDS = {
  setThreshold: 'greenCode.setThreshold',
  setThresholdQuickPick: 'greenCode.setThresholdQuickPick',
  toggle: 'greenCode.toggle',
  toggleLanguage: 'greenCode.toggleLanguage',
  snooze: 'greenCode.snooze',
  resume: 'greenCode.resume',
  switchMode: 'greenCode.switchMode',
  chooseModel: 'greenCode.chooseModel',
  dismiss: 'greenCode.dismiss',
  energyReport: 'greenCode.energyReport',
  exportHistory: 'greenCode.exportHistory',
  deleteHistory: 'greenCode.deleteHistory',
  whyNoSuggestion: 'greenCode.whyNoSuggestion',
  showLayers: 'greenCode.showLayers',
  resetGate: 'greenCode.resetGate',
  setApiKey: 'greenCode.setApiKey',
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

/** Context keys for conditions in the manifest. */
export const CONDITIONS = {
  /** Languages in which a front answers now. With it, Escape is ours only where a suggestion of ours can be. */
  answersIn: 'greenCode.answersIn',
  snoozed: 'greenCode.snoozed',
} as const;

/** The leaf in extension/media/leaf.woff, and the same struck through: the editor's icon font has none. */
export const ICON = '$(green-code-leaf)';
export const ICON_OFF = '$(green-code-leaf-off)';
