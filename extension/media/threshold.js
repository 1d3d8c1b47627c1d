/* The page of the threshold view: shows the messages of threshold/messages.ts, and reports when a slider is moved. */
(() => {
  'use strict';
  const vscode = acquireVsCodeApi();
  const find = (id) => document.getElementById(id);
  const DEBOUNCE_MS = 150;
  /** The steps of the slider of suggestions, and what was measured; null: nothing. */
  let stops = [];
  let measured = null;
  /** The calibration curve of the threshold, full depth last. */
  let curve = [];
  /** The texts for each step of the threshold. */
  let steps = [];

  /** A slider whose setting is written once it rests. `valueAt` and `positionOf` translate, `show` draws a value. */
  const control = (setting, valueAt, positionOf, show) => {
    const slider = find(setting);
    /** While the user drags, a state message with an earlier value must not move the slider back. */
    let timer;
    /** The value that was sent but is not written yet. Until then, state messages have an earlier value. */
    let unwritten;
    const choose = (value) => {
      slider.value = String(positionOf(value));
      show(value, slider);
      clearTimeout(timer);
      timer = setTimeout(() => {
        timer = undefined;
        unwritten = value;
        vscode.postMessage({ type: 'write', setting, value });
      }, DEBOUNCE_MS);
    };
    const redraw = () => show(valueAt(Number(slider.value)), slider);
    slider.addEventListener('input', () => choose(valueAt(Number(slider.value))));
    return {
      choose,
      redraw,
      follow(value) {
        if (timer === undefined && unwritten === undefined) {
          slider.value = String(positionOf(value));
          redraw();
        }
      },
      written(value) {
        unwritten = unwritten === value ? undefined : unwritten;
      },
    };
  };

  const element = (name, properties, ...children) => {
    const created = Object.assign(document.createElement(name), properties);
    created.append(...children);
    return created;
  };

  const shape = (name, attributes, text = '') => {
    const created = document.createElementNS('http://www.w3.org/2000/svg', name);
    for (const [key, value] of Object.entries(attributes)) {
      created.setAttribute(key, value);
    }
    created.textContent = text;
    return created;
  };

  const showStop = (value, slider) => {
    const { title, text, outcome, figures, comparison, label } = stops.find((stop) => stop.value === value);
    find('stop').textContent = title;
    find('stop-text').textContent = text;
    slider.setAttribute('aria-valuetext', label);
    if (measured !== null) {
      find('this-stop').textContent = title;
      find('comparison').textContent = comparison;
      find('figures').replaceChildren(
        ...measured.names.map((name, row) =>
          element(
            'tr',
            {},
            element('th', { scope: 'row', textContent: name }),
            element('td', { textContent: figures[row] }),
            element('td', { textContent: measured.alwaysFigures[row] }),
          ),
        ),
      );
      drawOutcomes(outcome);
    }
  };

  /** Both shares over joules, which begin at 0. Large marks: this stop. Hollow marks: asking always. */
  const drawOutcomes = (here) => {
    const [LEFT, RIGHT, TOP, BOTTOM] = [28, 234, 6, 119];
    const x = ({ joules }) => LEFT + (joules / measured.mostJoules) * (RIGHT - LEFT);
    const y = (share) => BOTTOM - (share / measured.shares.at(-1).share) * (BOTTOM - TOP);
    const mark = (series, point, size, kind) => {
      const [cx, cy, side] = [x(point), y(point[series]), 2 * size];
      return series === 'accepted'
        ? shape('circle', { cx, cy, r: size, class: `${series} ${kind}` })
        : shape('rect', { x: cx - size, y: cy - size, width: side, height: side, class: `${series} ${kind}` });
    };
    const line = (series) => shape('polyline', { points: measured.curve.map((point) => `${x(point)},${y(point[series])}`).join(' '), class: series });
    const both = ['accepted', 'right'];
    find('outcomes').replaceChildren(
      ...measured.shares.flatMap(({ share, text }) => [
        shape('line', { x1: LEFT, y1: y(share), x2: RIGHT, y2: y(share), class: 'grid' }),
        shape('text', { x: LEFT - 4, y: y(share) + 3 }, text),
      ]),
      shape('line', { x1: LEFT, y1: TOP, x2: LEFT, y2: BOTTOM, class: 'axis' }),
      shape('line', { x1: LEFT, y1: BOTTOM, x2: RIGHT, y2: BOTTOM, class: 'axis' }),
      ...both.map(line),
      ...both.flatMap((series) => measured.curve.map((point) => mark(series, point, 1.5, 'point'))),
      ...both.map((series) => mark(series, measured.always, 3, 'always')),
      ...(here === null ? [] : both.map((series) => mark(series, here, 4, 'here'))),
    );
  };

  const showThreshold = (value, slider) => {
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

  const same = (value) => value;
  const controls = {
    suggestions: control('suggestions', (position) => stops[position].value, (value) => stops.findIndex((stop) => stop.value === value), showStop),
    threshold: control('threshold', same, same, showThreshold),
  };

  find('use-fast').addEventListener('click', () => vscode.postMessage({ type: 'fast' }));

  const presetButton = ({ threshold, title, text }) => {
    const button = element('button', { type: 'button', value: String(threshold), textContent: title, title: text });
    button.addEventListener('click', () => controls.threshold.choose(threshold));
    return button;
  };

  const bar = ({ share, title }) => {
    const inner = element('div', {});
    inner.style.height = `${100 * share}%`;
    return element('div', { className: 'bar', title }, inner);
  };

  const showScale = (scale) => {
    ({ stops, measured, curve, steps } = scale);
    find('measured').hidden = measured === null;
    find('unmeasured').hidden = measured !== null;
    find('basis').textContent = measured?.basis ?? '';
    find('most-joules').textContent = measured?.mostJoulesText ?? '';
    find('trade-off').hidden = curve.length === 0;
    find('presets').hidden = scale.presets.length === 0;
    find('presets').replaceChildren(...scale.presets.map(presetButton));
    find('marks').replaceChildren(...scale.presets.map(({ threshold }) => element('option', { value: String(threshold) })));
    Object.values(controls).forEach(({ redraw }) => redraw());
  };

  /** The slider takes the focus before the button is hidden. A text is written only if it changes, so that it is read out once. */
  const showNoEffect = (text) => {
    const note = find('no-effect');
    if (text === '' && note.contains(document.activeElement)) {
      find('threshold').focus();
    }
    note.hidden = text === '';
    if (note.firstElementChild.textContent !== text) {
      note.firstElementChild.textContent = text;
    }
  };

  const showState = (state) => {
    controls.suggestions.follow(state.suggestions);
    controls.threshold.follow(state.threshold);
    showNoEffect(state.noEffect);
    find('summary').textContent = state.summary;
    find('today').textContent = state.today;
    find('bars').hidden = state.bars.length === 0;
    find('bars').setAttribute('aria-label', state.barsLabel);
    find('bars').replaceChildren(...state.bars.map(bar));
  };

  const receivers = { scale: showScale, state: showState, written: ({ setting, value }) => controls[setting].written(value) };
  window.addEventListener('message', ({ data: message }) => receivers[message.type](message));

  vscode.postMessage({ type: 'ready' });
})();
