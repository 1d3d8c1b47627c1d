/** The HTML of the threshold view: the stops, and behind Advanced the exit threshold. It is static: media/threshold.js receives all changes as messages. */
import { language, t } from '../l10n';
import { joules } from '../state/format';
import { STOPS } from './stops';
import { HIGHEST, LOWEST, STEP } from './value';

interface PageOptions {
  readonly nonce: string;
  readonly cspSource: string;
  readonly script: string;
  readonly style: string;
}

export function page({ nonce, cspSource, script, style }: PageOptions): string {
  return `<!DOCTYPE html>
<html lang="${language()}">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${cspSource}; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>${t('threshold.title')}</title>
</head>
<body>
<main>
  <div class="head">
    <label for="suggestions">${t('threshold.suggestions')}</label>
    <output id="stop" for="suggestions" aria-live="off"></output>
  </div>
  <input id="suggestions" type="range" min="0" max="${STOPS.length - 1}" step="1" aria-describedby="stop-ends" list="stop-marks">
  <datalist id="stop-marks">${STOPS.map((_, index) => `<option value="${index}"></option>`).join('')}</datalist>
  <p class="ends" id="stop-ends"><span>${t('threshold.moreSuggestions')}</span><span>${t('threshold.surerSuggestions')}</span></p>
  <p id="stop-text"></p>
  <p id="unmeasured" class="note" hidden>${t('threshold.notMeasured')}</p>
  <figure id="measured" hidden>
    <p class="legend">
      <span>${key('accepted')} ${t('common.charactersAccepted')}</span>
      <span>${key('right')} ${t('threshold.suggestionsRight')}</span>
      <span>${key('always')} ${t('threshold.askingAlways')}</span>
    </p>
    <svg id="outcomes" viewBox="0 0 240 120" role="img" aria-label="${t('threshold.chartLabel')}"></svg>
    <p class="ends"><span>${joules(0)}</span><span>${t('common.joulesPerCharacter')}</span><span id="most-joules"></span></p>
    <table>
      <thead><tr><td></td><th id="this-stop" scope="col"></th><th scope="col">${t('threshold.askingAlways')}</th></tr></thead>
      <tbody id="figures"></tbody>
    </table>
    <figcaption><strong id="comparison"></strong> <span id="basis"></span></figcaption>
  </figure>
  <details id="advanced">
    <summary>${t('threshold.advanced')}</summary>
    <div class="head">
      <label for="threshold">${t('threshold.exitThreshold')}</label>
      <output id="value" for="threshold" aria-live="off"></output>
    </div>
    <input id="threshold" type="range" min="${LOWEST}" max="${HIGHEST}" step="${STEP}" aria-describedby="hint" list="marks">
    <datalist id="marks"></datalist>
    <p class="ends" id="hint"><span>${t('threshold.savesEnergy')}</span><span>${t('threshold.keepsQuality')}</span></p>
    <p id="no-effect" role="status" hidden><span></span> <button id="use-fast" type="button">${t('threshold.useFastDecoding')}</button></p>
    <figure id="trade-off" hidden>
      <svg id="curve" viewBox="0 0 120 60" role="img" aria-labelledby="here"></svg>
      <figcaption id="here"></figcaption>
    </figure>
    <div id="presets" class="presets" role="group" aria-label="${t('threshold.presets')}" hidden></div>
  </details>
  <section aria-labelledby="last-title">
    <h2 id="last-title">${t('threshold.lastCompletion')}</h2>
    <p id="summary">${t('threshold.noCompletionYet')}</p>
    <div id="bars" role="img" hidden></div>
  </section>
  <section aria-labelledby="today-title">
    <h2 id="today-title">${t('common.today')}</h2>
    <p id="today">${t('threshold.nothingYet')}</p>
  </section>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}

/** A line and a mark as the curve has them, for the legend. */
function key(series: 'accepted' | 'right' | 'always'): string {
  const marks = {
    accepted: '<path d="M0 5H20"/><circle cx="10" cy="5" r="3"/>',
    right: '<path d="M0 5H20"/><rect x="7" y="2" width="6" height="6"/>',
    always: '<circle cx="5" cy="5" r="3"/><rect x="12" y="2" width="6" height="6"/>',
  };
  return `<svg class="key ${series}" viewBox="0 0 20 10" aria-hidden="true">${marks[series]}</svg>`;
}
