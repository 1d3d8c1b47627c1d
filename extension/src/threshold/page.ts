/**
 * The HTML of the threshold view: the stops, the modes, and the exit threshold in the mode that uses it. It is static:
 * media/threshold.js receives all changes as messages.
 */
import { language, t } from '../l10n';
import type { Decoding } from '../protocol';
import type { Series } from './chart';
import { modeText, modeTitle } from './modes';
import { STOPS, stopTitle } from './stops';
import { HIGHEST, LOWEST, STEP } from './value';

interface PageOptions {
  readonly nonce: string;
  readonly cspSource: string;
  readonly script: string;
  readonly styles: readonly string[];
}

export function page({ nonce, cspSource, script, styles }: PageOptions): string {
  return `<!DOCTYPE html>
<html lang="${language()}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${cspSource}; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
${styles.map((style) => `<link rel="stylesheet" href="${style}">`).join('\n')}
<title>${t('threshold.suggestionsTitle')}</title>
</head>
<body>
<main>
  <section>
    <div class="head">
      <label for="suggestions">${t('threshold.suggestions')}</label>
      <output id="stop" for="suggestions" aria-live="off"></output>
    </div>
    <input id="suggestions" type="range" min="0" max="${STOPS.length - 1}" step="1" aria-describedby="stop-text">
    <p class="ends" aria-hidden="true">${STOPS.map((stop) => `<span>${stopTitle(stop)}</span>`).join('')}</p>
    <p id="stop-text"></p>
    <p id="unmeasured" class="note" hidden>${t('threshold.notMeasured')}</p>
    <figure id="measured" hidden>
      <p><strong id="comparison"></strong></p>
      <table>
        <thead><tr><td></td><th id="this-stop" scope="col"></th><th scope="col">${t('threshold.askingAlways')}</th></tr></thead>
        <tbody id="figures"></tbody>
      </table>
      <figcaption id="basis"></figcaption>
    </figure>
  </section>
  <section id="modes" aria-labelledby="modes-title">
    <h2 id="modes-title">${t('mode.heading')}</h2>
    ${MODES.map(mode).join('\n    ')}
  </section>
  <section aria-labelledby="last-title">
    <h2 id="last-title">${t('threshold.lastCompletion')}</h2>
    <p id="summary">${t('threshold.noCompletionYet')}</p>
    <div id="bars" role="img" hidden></div>
    <p><button id="show-layers" class="link" type="button" hidden>${t('menu.showLayers')}</button></p>
  </section>
  <section aria-labelledby="today-title">
    <h2 id="today-title">${t('common.today')}</h2>
    <dl id="today"></dl>
    <p id="today-note" class="note">${t('threshold.nothingYet')}</p>
  </section>
  <section id="charts" aria-labelledby="charts-title" hidden>
    <h2 id="charts-title">${t('threshold.chartsTitle')}</h2>
    <p class="legend">${key('accepted', t('threshold.axisAccepted'))} ${key('right', t('threshold.axisRight'))}</p>
    <svg id="outcomes" role="img" aria-label="${t('threshold.chartSharesLabel')}"></svg>
    <p class="legend">${key('joules', t('threshold.axisJoules'))}</p>
    <svg id="costs" role="img" aria-label="${t('threshold.chartCostsLabel')}"></svg>
    <p class="axis-name">${t('threshold.axisSure')}</p>
    <p class="legend">${key('level', t('threshold.askingAlways'))}</p>
  </section>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}

/** `full` is shown only where it is on: it is for comparisons. */
const MODES: readonly Decoding[] = ['exact', 'fast', 'full'];

/** A mode: the one that is on, or a button for it. */
function mode(decoding: Decoding): string {
  return `<div id="mode-${decoding}" class="mode" role="group" aria-labelledby="mode-${decoding}-title">
      <div class="head"><h3 id="mode-${decoding}-title">${modeTitle(decoding)}</h3><span id="on-${decoding}" class="on" hidden>${t('mode.on')}</span></div>
      <p>${modeText(decoding)}</p>
      ${decoding === 'fast' ? `<p id="expected"></p>\n      ${exitThreshold()}\n      <p id="expected-basis" class="note">${t('threshold.expectedBasis')}</p>` : ''}
      <button id="use-${decoding}" class="use" type="button" value="${decoding}">${t('menu.switchMode', { mode: modeTitle(decoding) })}</button>
    </div>`;
}

function exitThreshold(): string {
  return `<div id="exit" hidden>
        <div class="head">
          <label for="threshold">${t('threshold.exitThreshold')}</label>
          <output id="value" for="threshold" aria-live="off"></output>
        </div>
        <input id="threshold" type="range" min="${LOWEST}" max="${HIGHEST}" step="${STEP}" aria-describedby="hint">
        <p class="ends" id="hint"><span>${t('threshold.savesEnergy')}</span><span>${t('threshold.keepsQuality')}</span></p>
        <div id="presets" class="presets" role="group" aria-label="${t('threshold.presets')}" hidden></div>
        <figure id="trade-off" hidden>
          <p id="here"></p>
          <p class="legend">${key('accuracy', t('threshold.axisAccuracy'))} ${key('energy', t('threshold.axisEnergy'))}</p>
          <svg id="curve" role="img" aria-labelledby="here"></svg>
          <p class="axis-name">${t('threshold.exitThreshold')}</p>
        </figure>
      </div>`;
}

/** A line and a mark as the chart has them, with the name of the axis. */
function key(series: Series | 'level', name: string): string {
  const mark = {
    accepted: '<circle cx="10" cy="5" r="3"/>',
    right: '<rect x="7" y="2" width="6" height="6"/>',
    joules: '<circle cx="10" cy="5" r="3"/>',
    accuracy: '<circle cx="10" cy="5" r="3"/>',
    energy: '<rect x="7" y="2" width="6" height="6"/>',
    level: '',
  };
  return `<span><svg class="key ${series}" viewBox="0 0 20 10" aria-hidden="true"><path d="M0 5H20"/>${mark[series]}</svg>${name}</span>`;
}
