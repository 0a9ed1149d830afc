// What a tile of a board is: its kinds with their settings, and what a value means to it. Pure functions.

import { value as shown } from '../format.js';
import { isOn, tile as guess } from '../guess.js';
import { numberOf } from '../payload.js';
import { free, settle } from './layout.js';

export const COLOURS = {
  'series-2': 'Teal', 'series-3': 'Violet', 'series-4': 'Green', 'series-5': 'Pink', 'series-6': 'Blue', 'series-1': 'Copper',
  good: 'Good', warn: 'Warning', bad: 'Alarm',
};
export const SPANS = [[60, '1 minute'], [600, '10 minutes'], [3600, '1 hour'], [21600, '6 hours'], [86400, '24 hours'], [604800, '7 days']];
export const SERIES_MAX = 8;
export const THRESHOLDS_MAX = 8;

const NUMBERS = { unit: '', decimals: null, min: 0, max: 100, colour: 'series-2', thresholds: [], stale: null };
const SENDS = { target: '', qos: 0, retain: false };
const SOURCE = { topic: '', field: '' };

/** The kinds: name for people, size in the grid, smallest size, and settings with what they are at first. */
export const KINDS = {
  gauge: { name: 'Gauge', what: 'an arc between two ends', w: 3, h: 4, least: { w: 2, h: 3 }, settings: { ...SOURCE, ...NUMBERS } },
  value: {
    name: 'Value', what: 'the last value, large', w: 3, h: 2, least: { w: 2, h: 2 },
    settings: { ...SOURCE, unit: '', decimals: null, colour: 'series-2', thresholds: [], stale: null, spark: true },
  },
  chart: {
    name: 'Chart', what: 'lines over time', w: 6, h: 5, least: { w: 3, h: 3 },
    settings: { unit: '', decimals: null, series: [], seconds: 600, low: null, high: null, steps: false },
  },
  lamp: {
    name: 'Lamp', what: 'on or off, open or closed', w: 2, h: 2, least: { w: 2, h: 2 },
    settings: { ...SOURCE, on: '', off: '', colour: 'good', colour_off: '', stale: null },
  },
  switch: {
    name: 'Switch', what: 'shows a state and publishes another', w: 3, h: 2, least: { w: 2, h: 2 },
    settings: { ...SOURCE, ...SENDS, on: 'on', off: 'off', colour: 'good', stale: null },
  },
  button: {
    name: 'Button', what: 'publishes when pressed', w: 2, h: 2, least: { w: 2, h: 2 },
    settings: { ...SENDS, payload: '', label: 'Press', colour: 'series-1', confirm: false },
  },
  slider: {
    name: 'Slider', what: 'publishes a number', w: 4, h: 2, least: { w: 2, h: 2 },
    settings: { ...SOURCE, ...SENDS, unit: '', decimals: null, min: 0, max: 100, step: 1, template: '{value}', colour: 'series-2', stale: null },
  },
};

export const publishes = (tile) => 'target' in KINDS[tile.kind].settings;

/** A tile with every setting of its kind, in one order, and no others. */
export function complete(tile) {
  const kind = KINDS[tile.kind];
  const { id, title = '', x = 0, y = 0, w = kind.w, h = kind.h } = tile;
  const settings = Object.entries(kind.settings).map(([key, first]) => [key, structuredClone(tile[key] ?? first)]);
  return { id, kind: tile.kind, title, x, y, w, h, ...Object.fromEntries(settings) };
}

/** What a tile shows, as a list of `{ topic, field }`. */
export function sources(tile) {
  if (tile.kind === 'chart') return tile.series;
  return tile.topic ? [{ topic: tile.topic, field: tile.field }] : [];
}

/** The topics of all tiles, each once. */
export const topicsOf = (tiles) => [...new Set(tiles.flatMap(sources).map(({ topic }) => topic).filter((topic) => topic !== ''))];

/** Where a switch, slider or button publishes: what it shows, if nothing else is said. */
export const targetOf = (tile) => tile.target || tile.topic || '';

/** The custom property of a colour's name, for what is drawn; `ink` is for what is read. */
export const property = (colour) => (colour === 'warn' ? '--warn-mark' : ink(colour));
/** The same for text, and for what text stands on. */
export const ink = (colour) => `--${colour || 'line-strong'}`;

/** The colour of a value: that of the highest threshold it reaches. */
export function colourOf(tile, raw) {
  const number = numberOf(raw);
  const reached = (tile.thresholds ?? []).filter(({ from }) => number !== undefined && number >= from);
  if (reached.length === 0) return tile.colour;
  return reached.reduce((high, next) => (next.from >= high.from ? next : high)).colour;
}

/** A value as text. */
export function text(tile, raw) {
  if (raw === undefined || raw === null) return '–';
  if (typeof raw === 'object') return JSON.stringify(raw);
  const number = typeof raw === 'boolean' ? undefined : numberOf(raw);
  return number === undefined ? String(raw) : shown(number, tile.decimals ?? undefined);
}

/** Whether a value means on; undefined if it means neither, or if there is none. */
export function stateOf(tile, raw) {
  if (raw === undefined || raw === null) return undefined;
  const word = typeof raw === 'object' ? JSON.stringify(raw) : String(raw).trim();
  if (tile.on !== '' && means(tile.on, word)) return true;
  if (tile.off !== '' && means(tile.off, word)) return false;
  if (tile.kind === 'lamp' && tile.on !== '' && tile.off === '') return false;
  return isOn(raw);
}

// A switch may send an object and get back one of its fields.
function means(payload, word) {
  if (payload.trim() === word) return true;
  try {
    const values = Object.values(JSON.parse(payload));
    return values.length === 1 && String(values[0]) === word;
  } catch {
    return false;
  }
}

/** What a slider sends for `number`. */
export function filled(tile, number) {
  const places = (String(tile.step).split('.')[1] ?? '').length;
  return tile.template.replaceAll('{value}', String(Number(number.toFixed(Math.max(places, tile.decimals ?? 0)))));
}

/**
 * Whether a value is stale: older than the tile says, or, for numbers that came regularly (`every` seconds apart), older
 * than five times that. States may stay as they are for ever.
 */
export function isStale(tile, age, every) {
  if (typeof tile.stale === 'number' && tile.stale > 0) return age > tile.stale;
  if (['lamp', 'switch', 'slider'].includes(tile.kind) || every === null) return false;
  return age > Math.max(15, every * 5);
}

/** A short name no tile has yet. */
export function freshId(tiles) {
  for (let at = tiles.length + 1; ; at += 1) {
    if (!tiles.some((tile) => tile.id === `t${at}`)) return `t${at}`;
  }
}

/**
 * The tiles with one more, guessed from a topic and what was seen of it, at `at` (`{ x, y }`) or the first free place.
 */
export function add(tiles, { topic, field = '', kind }, raw, values = [], at = null) {
  const tile = make({ topic, field, kind }, raw, values, freshId(tiles));
  if (at !== null) return { tile, tiles: settle([...tiles, { ...tile, ...at }], tile.id) };
  return { tile, tiles: [...tiles, { ...tile, ...free(tiles, tile.w, tile.h) }] };
}

/** A tile of `kind`, or of the one that suits, for a topic. */
export function make({ topic, field = '', kind }, raw, values, id) {
  const guessed = { ...guess(topic, field, raw, values) };
  const wanted = kind ?? guessed.kind;
  if (guessed.min !== undefined) guessed.step = niceStep(guessed.min, guessed.max);
  if (wanted === 'chart') guessed.series = [seriesOf([], topic, field)];
  if (wanted === 'lamp') Object.assign(guessed, lampColours(topic, field, raw));
  if (wanted === 'button') Object.assign(guessed, { target: topic, payload: typeof raw === 'string' ? raw : '' });
  return complete({ ...guessed, kind: wanted, id });
}

/** One more line of a chart: named after what tells it from the others. */
export function seriesOf(series, topic, field) {
  const colours = Object.keys(COLOURS);
  const used = series.map(({ colour }) => colour);
  const levels = topic.split('/').filter((level) => level !== '');
  const label = field === '' ? (levels.at(-2) ?? levels.at(-1) ?? topic) : `${levels.at(-1)} ${field}`;
  const known = series.some((one) => one.label === label);
  return { topic, field, label: known ? levels.join(' ') : label.replaceAll('_', ' '), colour: colours.find((name) => !used.includes(name)) ?? colours[0] };
}

/** What the lines of a chart are called: their label, else what they show; each name once. */
export function namesOf(series) {
  const names = [];
  for (const { label, topic, field } of series) {
    const name = label.trim() || [topic, field].filter(Boolean).join(' ') || 'no topic';
    let [own, more] = [name, 1];
    while (names.includes(own)) own = `${name} ${more += 1}`;
    names.push(own);
  }
  return names;
}

function niceStep(low, high) {
  const rough = (high - low) / 100;
  return rough >= 1 || rough <= 0 ? 1 : Number((10 ** Math.floor(Math.log10(rough))).toPrecision(1));
}

// Open doors and alarms want to be seen, absent devices too.
function lampColours(topic, field, raw) {
  const name = `${topic}/${field}`.toLowerCase();
  if (/door|window|motion|presence|garage|gate|lock/.test(name)) return { colour: 'warn' };
  if (/alarm|smoke|leak|fault|error|fire/.test(name)) return { colour: 'bad' };
  return /^(on|off)line$|^(dis)?connected$/i.test(String(raw)) ? { colour: 'good', colour_off: 'bad' } : {};
}
