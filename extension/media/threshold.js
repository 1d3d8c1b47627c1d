/* The page of the threshold view: shows the messages of threshold/view.ts, and reports when the slider is moved. */
(() => {
  'use strict';
  const vscode = acquireVsCodeApi();
  const find = (id) => document.getElementById(id);
  const slider = find('threshold');
  /** While the user drags, a state message with an earlier value must not move the slider back. */
  const DEBOUNCE_MS = 150;
  let timer;
  /** The value that was sent but is not written yet. Until then, state messages have an earlier value. */
  let unwritten;
  /** The calibration curve, full depth last. */
  let curve = [];
  /** The texts for each step of the slider. */
  let steps = [];

  const show = (value) => {
    const { text, label, words, point } = steps[Math.round((value - slider.min) / slider.step)];
    find('value').textContent = text;
    find('here').textContent = words;
    slider.setAttribute('aria-valuetext', label);
    for (const button of find('presets').children) {
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

  /** Quality upwards, saving to the right. The large dot marks the slider's value. */
  const drawCurve = (here) => {
    const [WIDTH, HEIGHT, MARGIN] = [120, 60, 5];
    /** The axis covers at least `least` to `most`, so that a small difference looks small. */
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
    clearTimeout(timer);
    timer = setTimeout(() => {
      timer = undefined;
      unwritten = value;
      vscode.postMessage({ type: 'threshold', value });
    }, DEBOUNCE_MS);
  };

  find('use-fast').addEventListener('click', () => vscode.postMessage({ type: 'fast' }));
  slider.addEventListener('input', () => choose(Number(slider.value)));

  const presetButton = ({ threshold, title, text }) => {
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
    find('presets').hidden = scale.presets.length === 0;
    find('presets').replaceChildren(...scale.presets.map(presetButton));
    find('marks').replaceChildren(...scale.presets.map(mark));
    show(Number(slider.value));
  };

  /** The slider takes the focus before the button is hidden. A text is written only if it changes, so that it is read out once. */
  const showNoEffect = (text) => {
    const note = find('no-effect');
    if (text === '' && note.contains(document.activeElement)) {
      slider.focus();
    }
    note.hidden = text === '';
    if (note.firstElementChild.textContent !== text) {
      note.firstElementChild.textContent = text;
    }
  };

  const showState = (state) => {
    if (timer === undefined && unwritten === undefined) {
      slider.value = String(state.threshold);
      show(state.threshold);
    }
    showNoEffect(state.noEffect);
    find('summary').textContent = state.summary;
    find('today').textContent = state.today;
    find('bars').hidden = state.bars.length === 0;
    find('bars').setAttribute('aria-label', state.barsLabel);
    find('bars').replaceChildren(...state.bars.map(bar));
  };

  const written = ({ value }) => {
    unwritten = unwritten === value ? undefined : unwritten;
  };

  const receivers = { scale: showScale, state: showState, written };
  window.addEventListener('message', ({ data: message }) => receivers[message.type](message));

  vscode.postMessage({ type: 'ready' });
})();
