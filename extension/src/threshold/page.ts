/** The HTML of the threshold view. Static: everything that changes arrives by message (media/threshold.js). */

export interface PageOptions {
  readonly nonce: string;
  readonly cspSource: string;
  readonly script: string;
  readonly style: string;
}

export function page({ nonce, cspSource, script, style }: PageOptions): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src ${cspSource}; script-src 'nonce-${nonce}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="${style}">
<title>Green Code: Threshold</title>
</head>
<body>
<main>
  <div class="head">
    <label for="threshold">Exit threshold</label>
    <output id="value" for="threshold" aria-live="off"></output>
  </div>
  <input id="threshold" type="range" min="0.5" max="1" step="0.01" aria-describedby="hint" list="marks">
  <datalist id="marks"></datalist>
  <p class="ends" id="hint"><span>saves energy</span><span>keeps quality</span></p>
  <p id="unused" hidden><span></span> <button id="use-fast" type="button">Use fast decoding</button></p>
  <figure id="trade-off" hidden>
    <svg id="curve" viewBox="0 0 120 60" role="img" aria-labelledby="here"></svg>
    <figcaption id="here"></figcaption>
  </figure>
  <div id="stops" class="stops" role="group" aria-label="Named stops" hidden></div>
  <section aria-labelledby="last-title">
    <h2 id="last-title">Last completion</h2>
    <p id="summary">No completion yet.</p>
    <div id="bars" role="img" hidden></div>
  </section>
  <section aria-labelledby="today-title">
    <h2 id="today-title">Today</h2>
    <p id="today">Nothing yet.</p>
  </section>
</main>
<script nonce="${nonce}" src="${script}"></script>
</body>
</html>`;
}
