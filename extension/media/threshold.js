/* The page of the threshold view: shows the state that it is sent, and says when the slider is moved. */
(() => {
  'use strict';
  const vscode = acquireVsCodeApi();
  const find = (id) => document.getElementById(id);
  const slider = find('threshold');
  /** While the user drags, an echo of an earlier position must not move the slider back. */
  const SETTLE_MS = 150;
  let pending;

  const show = (value) => {
    find('value').textContent = value.toFixed(2);
    slider.setAttribute('aria-valuetext', value >= 1 ? '1.00, every layer runs' : value.toFixed(2));
    for (const button of find('stops').children) {
      button.setAttribute('aria-pressed', String(Number(button.value) === value));
    }
  };

  const choose = (value) => {
    slider.value = String(value);
    show(value);
    clearTimeout(pending);
    pending = setTimeout(() => {
      pending = undefined;
      vscode.postMessage({ type: 'threshold', value });
    }, SETTLE_MS);
  };

  find('use-fast').addEventListener('click', () => vscode.postMessage({ type: 'fast' }));
  slider.addEventListener('input', () => choose(Number(slider.value)));

  const stopButton = ({ name, threshold }) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.value = String(threshold);
    button.textContent = name.charAt(0).toUpperCase() + name.slice(1);
    button.title = threshold.toFixed(2);
    button.addEventListener('click', () => choose(threshold));
    return button;
  };

  const mark = ({ threshold }) => {
    const option = document.createElement('option');
    option.value = String(threshold);
    return option;
  };

  const bar = (layers, total) => {
    const outer = document.createElement('div');
    const inner = document.createElement('div');
    outer.className = 'bar';
    outer.title = `${layers} of ${total} layers`;
    inner.style.height = `${(100 * layers) / total}%`;
    outer.append(inner);
    return outer;
  };

  window.addEventListener('message', ({ data: state }) => {
    const stopsKey = JSON.stringify(state.stops);
    if (find('stops').dataset.key !== stopsKey) {
      find('stops').dataset.key = stopsKey;
      find('stops').hidden = state.stops.length === 0;
      find('stops').replaceChildren(...state.stops.map(stopButton));
      find('marks').replaceChildren(...state.stops.map(mark));
    }
    if (pending === undefined) {
      slider.value = String(state.threshold);
      show(state.threshold);
    }
    find('unused').hidden = state.unused === '';
    find('unused').firstElementChild.textContent = state.unused;
    find('summary').textContent = state.summary;
    find('today').textContent = state.today;
    find('bars').hidden = state.exits.length === 0;
    find('bars').setAttribute('aria-label', `Layers of each token: ${state.exits.join(', ')}`);
    find('bars').replaceChildren(...state.exits.map((layers) => bar(layers, state.layersTotal)));
  });

  vscode.postMessage({ type: 'ready' });
})();
