/* The page of the threshold view: shows the state that it is sent, and says when the slider is moved. */
(() => {
  'use strict';
  const vscode = acquireVsCodeApi();
  const find = (id) => document.getElementById(id);
  const slider = find('threshold');
  /** While the user drags, an echo of an earlier position must not move the slider back. */
  const SETTLE_MS = 150;
  let pending;
  /** What thresholds gave in cold completions of held-out code, full depth last. */
  let curve = [];

  const show = (value) => {
    const here = curve.length > 0 ? ` ${drawCurve(value)}` : '';
    find('value').textContent = value.toFixed(2);
    slider.setAttribute('aria-valuetext', `${value.toFixed(2)}${value >= 1 ? ', every layer runs.' : '.'}${here}`);
    for (const button of find('stops').children) {
      button.setAttribute('aria-pressed', String(Number(button.value) === value));
    }
  };

  /** The point of a threshold, between those that were measured on a line. */
  const pointAt = (threshold) => {
    const next = curve.findIndex((point) => point.threshold >= threshold);
    if (next <= 0) {
      return curve[0];
    }
    const [low, high] = [curve[next - 1], curve[next]];
    const part = (threshold - low.threshold) / (high.threshold - low.threshold);
    const between = (key) => low[key] + part * (high[key] - low[key]);
    return { saving: between('saving'), quality: between('quality') };
  };

  const shape = (name, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) {
      element.setAttribute(key, value);
    }
    return element;
  };

  /** Quality upwards, saving to the right; the dot is where the slider is. Returns that in words. */
  const drawCurve = (value) => {
    const [WIDTH, HEIGHT, MARGIN] = [120, 60, 5];
    /** From `least` to `most` at least, so that a difference of a hundredth looks like one. */
    const scale = (key, length, least, most) => {
      const values = curve.map((point) => point[key]);
      const [low, high] = [Math.min(least, ...values), Math.max(most, ...values)];
      return (point) => MARGIN + ((point[key] - low) / (high - low)) * (length - 2 * MARGIN);
    };
    const [x, quality] = [scale('saving', WIDTH, 0, 0.1), scale('quality', HEIGHT, 0.8, 1)];
    const y = (point) => HEIGHT - quality(point);
    const here = pointAt(value);
    find('curve').replaceChildren(
      shape('polyline', { points: curve.map((point) => `${x(point)},${y(point)}`).join(' ') }),
      ...curve.map((point) => shape('circle', { cx: x(point), cy: y(point), r: 1 })),
      shape('circle', { cx: x(here), cy: y(here), r: 3, class: 'here' }),
    );
    const percent = (share) => `${Math.round(100 * share)}%`;
    const words = `Cold completions of held-out code: ${percent(here.saving)} of energy saved, ${percent(here.quality)} of full depth's quality kept.`;
    find('here').textContent = words;
    return words;
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
    if (JSON.stringify(state.curve) !== JSON.stringify(curve)) {
      curve = state.curve;
      find('trade-off').hidden = curve.length === 0;
      show(Number(slider.value));
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
