/** Figures from the events in the page and the requests in the front. Times in milliseconds. */

/** A suggestion that is gone sooner flickers. */
const FLICKER_MS = 100;
/** One that is gone sooner was not read (`VISIBLE_SECONDS` of the front). */
const UNREAD_MS = 250;

/** The keys of the recordings, with the time until the next one. */
function typed(events) {
  let typing = false;
  const keys = [];
  for (const event of events) {
    typing = event.kind === 'begin' || (typing && event.kind !== 'end');
    if (typing && event.kind === 'key' && event.key !== 'Shift') {
      keys.push(event);
    }
  }
  return keys.map((key, index) => ({ ...key, end: keys[index + 1]?.at ?? Infinity }));
}

/**
 * For each key of a recording: the time until a new suggestion appeared, null if none appeared before the next key; and how the
 * front answered.
 */
export function perKey(events, requests) {
  return typed(events).map(({ at, end, key }) => {
    const within = (time) => time >= at && time < end;
    const ghost = events.find((event) => event.kind === 'ghost' && event.text !== '' && within(event.at));
    const sources = requests.filter(({ begun }) => within(begun * 1000)).map(({ source }) => source);
    const source = sources.includes('engine') ? 'engine' : sources.includes('before') ? 'before' : 'none';
    return { key, latency: ghost ? ghost.at - at : null, source };
  });
}

/**
 * How long each suggestion was there that vanished, or that another one replaced, while keys were typed. Typing along it leaves its
 * rest there; one that was typed to its end, or grew, has not vanished.
 */
export function lifetimes(events) {
  const found = [];
  let typing = false;
  let shown = '';
  let since = 0;
  let key = '';
  for (const event of events) {
    typing = event.kind === 'begin' || (typing && event.kind !== 'end');
    if (event.kind === 'key' && event.key !== 'Shift') {
      key = event.key;
    }
    if (event.kind !== 'ghost') {
      continue;
    }
    const { at, text } = event;
    const goesOn = text === '' ? shown === key || (key === 'Enter' && shown.trim() === '') : shown !== '' && (shown.endsWith(text) || text.startsWith(shown));
    if (typing && shown !== '' && !goesOn) {
      found.push(at - since);
    }
    since = shown !== '' && goesOn ? since : at;
    shown = text;
  }
  return found;
}

/** Quantile by the nearest rank; null without values. */
export function quantile(values, share) {
  const sorted = [...values].sort((one, other) => one - other);
  return sorted.length === 0 ? null : sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

/** 95 % bootstrap interval of a quantile, over keys. */
export function interval(values, share, draws = 2000) {
  let state = 1;
  const below = (limit) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 4294967296) * limit);
  };
  const found = Array.from({ length: draws }, () => quantile(values.map(() => values[below(values.length)]), share));
  return [quantile(found, 0.025), quantile(found, 0.975)];
}

function spread(latencies) {
  return {
    keys: latencies.length,
    p50: quantile(latencies, 0.5),
    p50_interval: latencies.length > 0 ? interval(latencies, 0.5) : null,
    p95: quantile(latencies, 0.95),
    p95_interval: latencies.length > 0 ? interval(latencies, 0.95) : null,
  };
}

const latencies = (keys, source) => keys.filter((key) => key.latency !== null && (source === undefined || key.source === source)).map(({ latency }) => latency);
const count = (items, condition) => items.filter(condition).length;

function arm({ arm: name, events, requests, rows }) {
  const keys = perKey(events, requests);
  const lives = lifetimes(events);
  const joules = rows.reduce((sum, { energy_joules: used }) => sum + used, 0);
  return {
    arm: name,
    keys: keys.length,
    all: spread(latencies(keys)),
    engine: spread(latencies(keys, 'engine')),
    before: spread(latencies(keys, 'before')),
    requests: requests.length,
    sent: count(requests, ({ source }) => source === 'engine'),
    answered_before: count(requests, ({ source }) => source === 'before'),
    cancelled_unsent: count(requests, ({ source, reason }) => source === 'none' && ['cancelled', 'superseded'].includes(reason)),
    refused: count(requests, ({ source, reason }) => source === 'none' && !['cancelled', 'superseded'].includes(reason)),
    cancelled_sent: count(requests, ({ source, reason }) => source === 'engine' && ['cancelled', 'superseded'].includes(reason)),
    completions: count(rows, ({ reason }) => !['cancelled', 'superseded'].includes(reason)),
    flicker_per_100_keys: (count(lives, (life) => life < FLICKER_MS) / keys.length) * 100,
    unread_per_100_keys: (count(lives, (life) => life < UNREAD_MS) / keys.length) * 100,
    joules_per_100_keys: (joules / keys.length) * 100,
    energy_source: rows[0]?.energy_source ?? null,
  };
}

export function summarise(results, about) {
  return { ...about, arms: Object.fromEntries(results.map((result) => [result.arm, arm(result)])) };
}
