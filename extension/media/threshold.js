/* The page of the threshold view: shows what it is sent (threshold/view.ts), and says when the slider is moved. */
(() => {
  'use strict';
  const vscode = acquireVsCodeApi();
  const find = (id) => document.getElementById(id);
  const slider = find('threshold');
  /** While the user drags, an echo of an earlier position must not move the slider back. */
  const SETTLE_MS = 150;
  let pending;
  /** What was sent and is not written yet: until it is, states tell an earlier position. */
  let awaited;
  /** What thresholds gave in cold completions of held-out code, full depth last. */
  let curve = [];
  /** What to show at each step of the slider. */
  let steps = [];

  const show = (value) => {
    const { text, spoken, words, point } = steps[Math.round((value - slider.min) / slider.step)];
    find('value').textContent = text;
    find('here').textContent = words;
    slider.setAttribute('aria-valuetext', spoken);
    for (const button of find('stops').children) {
      button.setAttribute('aria-pressed', String(Number(button.value) === value));
    }
    if (point !== null) {
      drawCurve(point);
    }
  };

  const shape = (name, attributes) => {
    const element = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) {
      element.setAttribute(key, value);
    }
    return element;
  };

  /** Quality upwards, saving to the right; the dot is where the slider is. */
  const drawCurve = (here) => {
    const [WIDTH, HEIGHT, MARGIN] = [120, 60, 5];
    /** From `least` to `most` at least, so that a difference of a hundredth looks like one. */
    const scale = (key, length, least, most) => {
      const values = curve.map((point) => point[key]);
      const [low, high] = [Math.min(least, ...values), Math.max(most, ...values)];
      return (point) => MARGIN + ((point[key] - low) / (high - low)) * (length - 2 * MARGIN);
    };
    const [x, quality] = [scale('saving', WIDTH, 0, 0.1), scale('quality', HEIGHT, 0.8, 1)];
    const y = (point) => HEIGHT - quality(point);
    find('curve').replaceChildren(
      shape('polyline', { points: curve.map((point) => `${x(point)},${y(point)}`).join(' ') }),
      ...curve.map((point) => shape('circle', { cx: x(point), cy: y(point), r: 1 })),
      shape('circle', { cx: x(here), cy: y(here), r: 3, class: 'here' }),
    );
  };

  const choose = (value) => {
    slider.value = String(value);
    show(value);
    clearTimeout(pending);
    pending = setTimeout(() => {
      pending = undefined;
      awaited = value;
      vscode.postMessage({ type: 'threshold', value });
    }, SETTLE_MS);
  };

  find('use-fast').addEventListener('click', () => vscode.postMessage({ type: 'fast' }));
  slider.addEventListener('input', () => choose(Number(slider.value)));

  const stopButton = ({ threshold, title, text }) => {
    const button = document.createElement('button');
    button.type = 'button';
    button.value = String(threshold);
    button.textContent = title;
    button.title = text;
    button.addEventListener('click', () => choose(threshold));
    return button;
  };

  const mark = ({ threshold }) => {
    const option = document.createElement('option');
    option.value = String(threshold);
    return option;
  };

  const bar = ({ share, title }) => {
    const outer = document.createElement('div');
    const inner = document.createElement('div');
    outer.className = 'bar';
    outer.title = title;
    inner.style.height = `${100 * share}%`;
    outer.append(inner);
    return outer;
  };

  const showScale = (scale) => {
    curve = scale.curve;
    steps = scale.steps;
    find('trade-off').hidden = curve.length === 0;
    find('stops').hidden = scale.stops.length === 0;
    find('stops').replaceChildren(...scale.stops.map(stopButton));
    find('marks').replaceChildren(...scale.stops.map(mark));
    show(Number(slider.value));
  };

  /** What is hidden loses the focus to nobody, so the slider has it first; and what is written again is read out again. */
  const showUnused = (text) => {
    const unused = find('unused');
    if (text === '' && unused.contains(document.activeElement)) {
      slider.focus();
    }
    unused.hidden = text === '';
    if (unused.firstElementChild.textContent !== text) {
      unused.firstElementChild.textContent = text;
    }
  };

  const showState = (state) => {
    if (pending === undefined && awaited === undefined) {
      slider.value = String(state.threshold);
      show(state.threshold);
    }
    showUnused(state.unused);
    find('summary').textContent = state.summary;
    find('today').textContent = state.today;
    find('bars').hidden = state.bars.length === 0;
    find('bars').setAttribute('aria-label', state.barsLabel);
    find('bars').replaceChildren(...state.bars.map(bar));
  };

  const written = ({ value }) => {
    awaited = awaited === value ? undefined : awaited;
  };

  const receivers = { scale: showScale, state: showState, written };
  window.addEventListener('message', ({ data: message }) => receivers[message.type](message));

  vscode.postMessage({ type: 'ready' });
})();
