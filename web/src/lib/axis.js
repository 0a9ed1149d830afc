// Where the axes of a chart begin and end, and what stands at them. Pure functions.

/** Pixels of one line of the names above a chart. */
export const LEGEND_LINE = 24;
/** No chart shows less than so many seconds. */
const SHORTEST = 30;
/** Of the height, above the highest point and below the lowest. */
const AIR = 0.08;

const powers = (base, count, steps) => Array.from({ length: count }, (_, power) => steps.map((step) => step * base ** power)).flat();

/** Distances of ticks: of things that are counted, and of bytes. */
export const INCREMENTS = { whole: powers(10, 12, [1, 2, 5]), binary: powers(2, 50, [1]) };

/** Where the time begins: `seconds` before its end, or with the first value if there is no more. */
export function beginning(data, seconds, from, to) {
  if (seconds === null) return from;
  const first = data[0].findIndex((_, at) => data.slice(1).some((column) => typeof column[at] === 'number'));
  const known = first === -1 ? to : data[0][first];
  return Math.max(to - seconds, Math.min(known, to - Math.min(seconds, SHORTEST)));
}

/**
 * The ends of the scale for values from `low` to `high` (null: none): some air above and below, never a line that is all
 * noise. `lowest` and `highest` are ends that are fixed, `min` is one that is kept while values are near it, `least` is what
 * the scale reaches at the least.
 */
export function range(low, high, { lowest = null, highest = null, min = null, least = null } = {}) {
  const top = (from, to) => Math.max(to, least ?? -Infinity, from + 1e-9);
  if (low === null || high === null) {
    const from = lowest ?? (highest === null ? min ?? 0 : highest - 1);
    return [from, highest ?? top(from, from + 1)];
  }
  const spread = Math.max(high - (lowest ?? low), Math.abs(high) * 0.02, 1e-9);
  const near = min !== null && low >= min && low - min < spread * 3;
  const from = lowest ?? (near ? min : low - spread * AIR);
  // What never was anything but nothing would be a scale of nothing.
  const to = high === from && least === null ? from + 1 : high + Math.max(spread, high - from) * AIR;
  if (highest !== null) return [Math.min(from, highest - 1e-9), highest];
  return [from, top(from, to)];
}

/** A time of day: with seconds where ticks are closer than a minute, without the hour where there is no room for it. */
export function stamp(seconds, step, narrow = false) {
  const date = new Date(seconds * 1000);
  const two = (part) => String(part).padStart(2, '0');
  const [hour, minute, second] = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two);
  if (step >= 60) return `${hour}:${minute}`;
  return narrow ? `${minute}:${second}` : `${hour}:${minute}:${second}`;
}
