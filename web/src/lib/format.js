// Numbers, sizes and times as people read them. Pure functions; the locale is always English with a dot.

const NONE = '–';

/** A count or measurement in at most `digits` significant digits: 0.25, 17.3, 1 234, 12.3k, 4.56M. */
export function number(value, digits = 3) {
  if (value === null || value === undefined || Number.isNaN(value)) return NONE;
  const size = Math.abs(value);
  if (size >= 1e9) return trim(value / 1e9, digits) + 'G';
  if (size >= 1e6) return trim(value / 1e6, digits) + 'M';
  if (size >= 1e4) return trim(value / 1e3, digits) + 'k';
  return trim(value, Math.max(digits, Number.isInteger(value) ? 4 : 0));
}

/** A measured value with a fixed number of decimals, or as many as it has, up to three. */
export function value(raw, decimals) {
  if (typeof raw !== 'number' || !Number.isFinite(raw)) return raw === undefined || raw === null ? NONE : String(raw);
  if (Number.isInteger(decimals)) return raw.toFixed(decimals);
  const size = Math.abs(raw);
  if (size !== 0 && (size >= 1e7 || size < 1e-3)) return raw.toPrecision(4);
  return String(Math.round(raw * 1000) / 1000);
}

function trim(value, digits) {
  return String(Number(value.toPrecision(digits)));
}

/** A rate per second: three digits, and `0` for nothing at all. */
export function rate(perSecond) {
  if (perSecond === null || perSecond === undefined) return NONE;
  if (perSecond > 0 && perSecond < 0.01) return '<0.01';
  return number(perSecond < 10 ? Math.round(perSecond * 100) / 100 : Math.round(perSecond * 10) / 10);
}

/** A rate for a column of them: always two decimals below ten, one below a hundred, so that they stay below each other. */
export function steady(perSecond) {
  if (perSecond === null || perSecond === undefined) return NONE;
  if (perSecond < 10) return perSecond.toFixed(2);
  return perSecond < 100 ? perSecond.toFixed(1) : number(perSecond);
}

/** A rate for a column whose points stand below each other: two decimals, whatever it is, as far as they say something. */
export function column(perSecond) {
  if (perSecond === null || perSecond === undefined) return NONE;
  return perSecond < 1000 ? perSecond.toFixed(2) : number(perSecond);
}

/** A share as per cent: one decimal below ten. */
export function percent(part) {
  if (part === null || part === undefined) return NONE;
  return `${(part * 100).toFixed(part < 0.0995 ? 1 : 0)} %`;
}

/** A size in the units of 1024. */
export function bytes(count) {
  if (count === null || count === undefined) return NONE;
  if (count < 1024) return `${Math.round(count)} B`;
  const units = ['KiB', 'MiB', 'GiB', 'TiB'];
  let size = count / 1024;
  let unit = 0;
  while (size >= 1000 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${trim(size, 3)} ${units[unit]}`;
}

/** A time span in seconds in its two largest units: `42 s`, `3 min 10 s`, `5 d 2 h`. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || !Number.isFinite(seconds)) return NONE;
  const whole = Math.max(0, Math.round(seconds));
  const units = [['d', 86400], ['h', 3600], ['min', 60], ['s', 1]];
  const first = units.findIndex(([, size]) => whole >= size);
  if (first === -1) return '0 s';
  const parts = [];
  let rest = whole;
  for (const [name, size] of units.slice(first, first + 2)) {
    const count = Math.floor(rest / size);
    if (count > 0) parts.push(`${count} ${name}`);
    rest -= count * size;
  }
  return parts.join(' ');
}

/** How long ago a moment (milliseconds since 1970, or RFC 3339) was. */
export function ago(moment, now = Date.now()) {
  const at = millis(moment);
  if (at === null) return NONE;
  const seconds = (now - at) / 1000;
  return seconds < 1.5 ? 'now' : `${span(seconds)} ago`;
}

/** A moment on this machine's clock: the time alone today, with the date else. */
export function clock(moment, now = Date.now()) {
  const at = millis(moment);
  if (at === null) return NONE;
  const date = new Date(at);
  const two = (part) => String(part).padStart(2, '0');
  const time = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  if (new Date(now).toDateString() === date.toDateString()) return time;
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${time}`;
}

/** Milliseconds since 1970 of a number, an RFC 3339 text, or nothing. */
export function millis(moment) {
  if (typeof moment === 'number') return moment;
  if (typeof moment !== 'string' || moment === '') return null;
  const at = Date.parse(moment);
  return Number.isNaN(at) ? null : at;
}

/** `one thing`, `2 things`. */
export function plural(count, one, many = `${one}s`) {
  return `${number(count)} ${count === 1 ? one : many}`;
}

/** A name of any length for a sentence: what is too long for one ends with dots. */
export const short = (name, most = 80) => (name.length > most ? `${name.slice(0, most)}…` : name);
