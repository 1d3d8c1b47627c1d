/** The HTML of the threshold view. It is static: media/threshold.js receives all changes as messages. */
import { language, t } from '../l10n';
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
<title>${t('Green Code: Threshold')}</title>
</head>
<body>
<main>
  <div class="head">
    <label for="threshold">${t('Exit threshold')}</label>
    <output id="value" for="threshold" aria-live="off"></output>
  </div>
  <input id="threshold" type="range" min="${LOWEST}" max="${HIGHEST}" step="${STEP}" aria-describedby="hint" list="marks">
  <datalist id="marks"></datalist>
  <p class="ends" id="hint"><span>${t('saves energy')}</span><span>${t('keeps quality')}</span></p>
  <p id="no-effect" role="status" hidden><span></span> <button id="use-fast" type="button">${t('Use fast decoding')}</button></p>
  <figure id="trade-off" hidden>
    <svg id="curve" viewBox="0 0 120 60" role="img" aria-labelledby="here"></svg>
    <figcaption id="here"></figcaption>
  </figure>
  <div id="presets" class="presets" role="group" aria-label="${t('Presets')}" hidden></div>
  <section aria-labelledby="last-title">
    <h2 id="last-title">${t('Last completion')}</h2>
    <p id="summary">${t('No completion yet.')}</p>
    <div id="bars" role="img" hidden></div>
  </section>
  <section aria-labelledby="today-title">
    <h2 id="today-title">${t('Today')}</h2>
    <p id="today">${t('Nothing yet.')}</p>
  </section>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}
