/* The page of the threshold view: shows the messages of threshold/messages.ts, and reports what the user changes. */
(() => {
  'use strict';
  const vscode = acquireVsCodeApi();
  const find = (id) => document.getElementById(id);
  const DEBOUNCE_MS = 150;
  const MODES = ['exact', 'fast', 'full'];
  /** The steps of the slider of suggestions, and what was measured; null: nothing. */
  let stops = [];
  let measured = null;
  /** The chart of the threshold, or null, and the texts for each step. */
  let tradeOff = null;
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
    const { title, text, marks, figures, comparison, label } = stops.find((stop) => stop.value === value);
    find('stop').textContent = title;
    find('stop-text').textContent = text;
    slider.setAttribute('aria-valuetext', label);
    if (measured === null) {
      return;
    }
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
    if (measured.charts !== null) {
      draw('outcomes', measured.charts.shares, marks?.shares ?? null);
      draw('costs', measured.charts.costs, marks?.costs ?? null);
    }
  };

  /** In the pixels of the page, so that texts keep their size in a narrow view. Large marks: the slider's value. */
  const draw = (id, { x, y, lines }, here) => {
    const svg = find(id);
    const { width, height, fontSize } = sizeOf(svg);
    const [left, right, top, bottom] = [2.6 * fontSize, width - fontSize, 0.6 * fontSize, height - 1.5 * fontSize];
    const across = (value) => left + ((value - x.least) / (x.most - x.least)) * (right - left);
    const up = (value) => bottom - ((value - y.least) / (y.most - y.least)) * (bottom - top);
    const mark = (series, at, share, size, kind) => {
      const [cx, cy] = [across(at), up(share)];
      return series === 'right' || series === 'energy'
        ? shape('rect', { x: cx - size, y: cy - size, width: 2 * size, height: 2 * size, class: `${series} ${kind}` })
        : shape('circle', { cx, cy, r: size, class: `${series} ${kind}` });
    };
    const every = Math.ceil((3 * fontSize * x.ticks.length) / (right - left)); // texts of ticks do not overlap
    svg.setAttribute('viewBox', `0 0 ${width} ${height}`);
    svg.replaceChildren(
      ...y.ticks.flatMap(({ at, text }) => [
        shape('line', { x1: left, y1: up(at), x2: right, y2: up(at), class: 'grid' }),
        shape('text', { x: left - 0.5 * fontSize, y: up(at) + 0.35 * fontSize, class: 'upward' }, text),
      ]),
      ...x.ticks.filter((_, index) => index % every === 0).map(({ at, text }) => shape('text', { x: across(at), y: bottom + 1.3 * fontSize, class: 'along' }, text)),
      shape('line', { x1: left, y1: top, x2: left, y2: bottom, class: 'axis' }),
      shape('line', { x1: left, y1: bottom, x2: right, y2: bottom, class: 'axis' }),
      ...(here === null ? [] : [shape('line', { x1: across(here.x), y1: top, x2: across(here.x), y2: bottom, class: 'value' })]),
      ...lines.filter(({ level }) => level !== null).map(({ series, level }) => shape('line', { x1: left, y1: up(level), x2: right, y2: up(level), class: `${series} level` })),
      ...lines.map(({ series, points }) => shape('polyline', { points: points.map((point) => `${across(point.x)},${up(point.y)}`).join(' '), class: series })),
      ...lines.flatMap(({ series, points }) => points.map((point) => mark(series, point.x, point.y, 1.5, 'point'))),
      ...(here === null ? [] : lines.map(({ series }, index) => mark(series, here.x, here.y[index], 4.5, 'here'))),
    );
  };

  /** A hidden chart has no size; it is drawn again when it gets one. */
  const sizeOf = (svg) => ({
    width: svg.clientWidth || 240,
    height: svg.clientHeight || 120,
    fontSize: Number.parseFloat(window.getComputedStyle(svg).fontSize) || 11,
  });

  const showThreshold = (value, slider) => {
    const { text, label, words, mark } = steps[Math.round((value - slider.min) / slider.step)];
    find('value').textContent = text;
    find('here').textContent = words;
    slider.setAttribute('aria-valuetext', label);
    for (const button of find('presets').children) {
      button.setAttribute('aria-pressed', String(Number(button.value) === value));
    }
    if (tradeOff !== null) {
      draw('curve', tradeOff, mark);
    }
  };

  const same = (value) => value;
  const controls = {
    suggestions: control('suggestions', (position) => stops[position].value, (value) => stops.findIndex((stop) => stop.value === value), showStop),
    threshold: control('threshold', same, same, showThreshold),
  };

  MODES.forEach((mode) => find(`use-${mode}`).addEventListener('click', () => vscode.postMessage({ type: 'mode', value: mode })));
  find('show-layers').addEventListener('click', () => vscode.postMessage({ type: 'layers' }));

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

  const redraw = () => {
    if (stops.length > 0) {
      Object.values(controls).forEach((each) => each.redraw());
    }
  };

  const showScale = (scale) => {
    ({ stops, measured, tradeOff, steps } = scale);
    find('measured').hidden = measured === null;
    find('unmeasured').hidden = measured !== null;
    find('charts').hidden = (measured?.charts ?? null) === null;
    find('basis').textContent = measured?.basis ?? '';
    find('trade-off').hidden = tradeOff === null;
    find('presets').hidden = scale.presets.length === 0;
    find('presets').replaceChildren(...scale.presets.map(presetButton));
    redraw();
  };

  /** The button of the mode that is now on disappears; the focus goes to what replaces it. */
  const showMode = ({ decoding, expected }) => {
    const hadFocus = document.activeElement === find(`use-${decoding}`);
    for (const mode of MODES) {
      const isOn = mode === decoding;
      find(`mode-${mode}`).setAttribute('aria-current', String(isOn));
      find(`on-${mode}`).hidden = !isOn;
      find(`use-${mode}`).hidden = isOn;
    }
    find('mode-full').hidden = decoding !== 'full';
    find('exit').hidden = decoding !== 'fast';
    find('expected').hidden = decoding === 'fast' || expected === '';
    find('expected').textContent = expected;
    find('expected-basis').hidden = expected === '';
    if (hadFocus) {
      find(decoding === 'fast' ? 'threshold' : 'use-fast').focus();
    }
  };

  const showState = (state) => {
    showMode(state);
    controls.suggestions.follow(state.suggestions);
    controls.threshold.follow(state.threshold);
    find('summary').textContent = state.summary;
    find('show-layers').hidden = !state.hasLast;
    find('bars').hidden = state.bars.length === 0;
    find('bars').setAttribute('aria-label', state.barsLabel);
    find('bars').replaceChildren(...state.bars.map(bar));
    find('today').replaceChildren(
      ...state.today.flatMap(({ name, figure }) => [element('dt', { textContent: name }), element('dd', { textContent: figure })]),
    );
    find('today-note').textContent = state.todayNote;
  };

  const receivers = { scale: showScale, state: showState, written: ({ setting, value }) => controls[setting].written(value) };
  window.addEventListener('message', ({ data: message }) => receivers[message.type](message));
  const sizes = new ResizeObserver(redraw);
  ['outcomes', 'costs', 'curve'].forEach((id) => sizes.observe(find(id)));

  vscode.postMessage({ type: 'ready' });
})();
