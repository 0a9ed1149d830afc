// The broker as a whole: the overview once a second, and the points of its charts. Runs on every page, stops while the
// page is hidden, and fills what was missed from the broker's own history when it is seen again.

import { get } from './api.js';
import { recentMean } from './series.js';
import { openInSight } from './stream.js';

const NAMES = ['messages_in', 'messages_out', 'bytes_in', 'bytes_out', 'dropped', 'clients', 'sessions',
  'queued_messages', 'cpu', 'memory_bytes', 'subscriptions', 'retained'];
const LONGEST = 86400;
/** Seconds that a figure is the mean of: one second's count jumps about where bursts come. */
const FIGURE = 10;

export const broker = $state({
  // Whether the broker answers: `connecting` at first, then `open` or `lost`.
  link: 'connecting',
  overview: null,
  // Grows with every new point: what draws the charts depends on it.
  points: 0,
});

/** The points of the charts: one a second, NaN-free; a gap is null. */
let points = [];

function point(overview) {
  const all = { ...overview.rates, ...overview.gauges, ...overview.process };
  return [Date.parse(overview.time) / 1000, NAMES.map((name) => all[name] ?? null)];
}

async function fill(seconds) {
  try {
    const past = await get('overview/history', { seconds });
    const from = Date.parse(past.from) / 1000;
    const length = Math.max(0, ...Object.values(past.series).map((list) => list.length));
    const filled = Array.from({ length }, (_, at) => [
      from + at * past.step_seconds, NAMES.map((name) => past.series[name]?.[at] ?? null),
    ]);
    merge(filled, past.step_seconds);
  } catch {
    // Without history the charts begin now.
  }
}

// What the broker remembers fills what this page has not seen: after a restart of the broker the page knows more.
function merge(filled, step) {
  const known = new Set(points.map(([time]) => Math.round(time / step)));
  const fresh = filled.filter(([time, values]) => values.some((value) => value !== null) && !known.has(Math.round(time / step)));
  points = [...points, ...fresh].sort((one, other) => one[0] - other[0]);
  broker.points += 1;
}

/** The columns `names` of the last `seconds`, times first; a break of more than 5 s is a gap. */
export function columns(names, seconds) {
  const to = points.at(-1)?.[0] ?? 0;
  // From the end: a day has 86,400 of them, and each chart asks for its own every second.
  let from = points.length;
  while (from > 0 && points[from - 1][0] >= to - seconds) from -= 1;
  const shown = points.slice(from);
  const wanted = names.map((name) => NAMES.indexOf(name));
  const gap = Math.max(5, seconds > 3600 ? 150 : 0);
  const times = [];
  const lists = wanted.map(() => []);
  let last = null;
  for (const [time, values] of shown) {
    if (last !== null && time - last > gap) {
      times.push(last + 1);
      lists.forEach((list) => list.push(null));
    }
    times.push(time);
    wanted.forEach((column, at) => lists[at].push(values[column]));
    last = time;
  }
  return [times, ...lists];
}

/** `name` as a figure to be read: the mean of the last seconds. Its chart shows each of them. */
export function figure(name) {
  const at = NAMES.indexOf(name);
  return recentMean(points.slice(-FIGURE * 2).map(([time, values]) => [time, values[at]]), FIGURE);
}

/** Makes sure that the last `seconds` are there as far as the broker remembers. */
export const reach = fill;

/** Follows the broker until the returned function is called. */
export function follow() {
  return openInSight('overview/stream', {}, {
    overview(data) {
      broker.overview = data;
      broker.link = 'open';
      points.push(point(data));
      if (points.length > LONGEST) points.splice(0, 1000);
      broker.points += 1;
    },
  }, {
    silence: 6000,
    state(now) {
      if (now === 'open') fill(600);
      else broker.link = now;
    },
  });
}
