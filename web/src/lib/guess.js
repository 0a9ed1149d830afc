// A first guess at how a topic wants to be shown: kind of tile, unit, range, title. Names come first (a `temperature`
// is degrees), then the values seen. Everything guessed can be changed on the board.

const KINDS = [
  // [pattern on the last words of topic and field, unit, lowest, highest]
  [/temp(erature)?|dew_?point/, '°C', -10, 40],
  [/humid(ity)?|moisture/, '%', 0, 100],
  [/soc|battery(_level|_percent)?|fill|level_percent|percent(age)?/, '%', 0, 100],
  [/pressure|barometer/, 'hPa', 950, 1050],
  [/co2/, 'ppm', 400, 2000],
  [/pm(2_?5|10)/, 'µg/m³', 0, 100],
  [/lux|illumina(nce|tion)|brightness/, 'lx', 0, 1000],
  [/volt(age)?|mains/, 'V', 0, 250],
  [/(milli)?amp(ere)?s?|current/, 'A', 0, 16],
  [/power|watts?/, 'W', 0, 3000],
  [/energy|kwh/, 'kWh', 0, 100],
  [/rssi|signal/, 'dBm', -100, -30],
  [/wind_?speed|speed|velocity/, 'm/s', 0, 30],
  [/rpm/, 'rpm', 0, 6000],
  [/freq(uency)?/, 'Hz', 0, 100],
  [/flow/, 'l/min', 0, 50],
  [/rain(fall)?/, 'mm', 0, 50],
];

const ON = ['on', 'true', 'open', 'online', 'yes', 'active', 'running', 'motion', 'connected', 'detected', 'alarm', '1'];
const OFF = ['off', 'false', 'closed', 'offline', 'no', 'inactive', 'stopped', 'clear', 'disconnected', 'idle', '0'];
const FEW = 4;
const COMMAND = /(^|[/_.-])(set|cmd|command|control|switch|relay)$/i;

/** Whether `raw` (number, boolean or text) means "on"; undefined when it says neither. */
export function isOn(raw) {
  const word = String(raw).trim().toLowerCase();
  if (ON.includes(word)) return true;
  if (OFF.includes(word)) return false;
  return typeof raw === 'number' ? raw !== 0 : undefined;
}

/** The words that name a value: the last level of the topic and its field, in lower case with underscores. */
function words(topic, path) {
  const name = path === '' ? topic.split('/').at(-1) : `${path.split('.').at(-1)}`;
  return name.replace(/([a-z])([A-Z])/g, '$1_$2').toLowerCase().replace(/[\s.-]+/g, '_');
}

/** `{ unit, min, max }` for a value of that name, with the values seen so far. */
export function scale(topic, path, values) {
  const name = words(topic, path);
  const known = KINDS.find(([pattern]) => new RegExp(`(^|_)(${pattern.source})(_|$)`).test(name));
  const lowest = Math.min(...values);
  const highest = Math.max(...values);
  if (known && (values.length === 0 || (lowest >= known[2] && highest <= known[3]))) {
    return { unit: known[1], min: known[2], max: known[3] };
  }
  const unit = known ? known[1] : '';
  if (values.length === 0) return { unit, min: 0, max: 100 };
  // One value says little of what comes: a range around it alone would be left with the next.
  return { unit, ...(values.length < FEW ? wideRange(lowest, highest) : roundRange(lowest, highest)) };
}

/** A wide range of round numbers that holds zero and the few values seen. */
export function wideRange(lowest, highest) {
  const most = Math.max(Math.abs(lowest), Math.abs(highest), 1) * 1.25;
  const power = 10 ** Math.floor(Math.log10(most));
  const end = Number(([1, 2, 5, 10].find((step) => step * power >= most) * power).toPrecision(10));
  return { min: lowest < 0 ? -end : 0, max: highest > 0 || lowest === highest ? end : 0 };
}

/** A range of round numbers around the values, from zero where the values are near it. */
export function roundRange(lowest, highest) {
  const spread = Math.max(highest - lowest, Math.abs(highest) * 0.2, 1e-6);
  const step = 10 ** Math.floor(Math.log10(spread));
  const from = lowest >= 0 && lowest - spread <= 0 ? 0 : Math.floor((lowest - spread * 0.5) / step) * step;
  const to = Math.ceil((highest + spread * 0.5) / step) * step;
  const tidy = (value) => Number(value.toPrecision(10));
  return { min: tidy(from), max: tidy(to) };
}

/** The words of a topic as a title: `sensors/living_room/temperature` is `Living room temperature`. */
export function title(topic, path = '') {
  const levels = topic.split('/').filter((level) => level !== '');
  const last = path === '' ? levels.slice(-2) : [...levels.slice(-1), ...path.split('.').slice(-1)];
  const text = last.join(' ').replace(/[_-]+/g, ' ').replace(/([a-z])([A-Z])/g, '$1 $2').toLowerCase().trim();
  return text === '' ? topic : text[0].toUpperCase() + text.slice(1);
}

/** A tile for `topic` and `path`, guessed from the values seen last (`raw`: the newest). */
export function tile(topic, path, raw, values = []) {
  const base = { topic, field: path, title: title(topic, path) };
  const number = typeof raw === 'number' && Number.isFinite(raw);
  if (COMMAND.test(path === '' ? topic : path)) {
    return number && ![0, 1].includes(raw)
      ? { ...base, kind: 'slider', ...scale(topic, path, values) }
      : { ...base, kind: 'switch', ...wordsFor(raw) };
  }
  if (!number) return isOn(raw) === undefined ? { ...base, kind: 'value' } : { ...base, kind: 'lamp' };
  const known = { ...base, ...scale(topic, path, values) };
  return values.length >= 8 && values.every((value) => value === 0 || value === 1)
    ? { ...base, kind: 'lamp' }
    : { ...known, kind: known.unit === '' && growing(values) ? 'value' : 'gauge' };
}

// A counter only grows: a gauge would stand at its end.
function growing(values) {
  return values.length >= 4 && values.every((value, at) => at === 0 || value >= values[at - 1])
    && values.at(-1) > values[0];
}

// What a switch sends, in the words its topic speaks already.
function wordsFor(raw) {
  const word = String(raw ?? '');
  for (const [on, off] of [['ON', 'OFF'], ['on', 'off'], ['true', 'false'], ['1', '0'], ['open', 'closed']]) {
    if (word === on || word === off) return { on, off };
  }
  return { on: 'on', off: 'off' };
}
