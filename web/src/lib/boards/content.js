// What is saved of a board, and its form as a file. What comes from outside is judged before it is shown: every fault
// says where it is and what would be right.

import { topicFault } from '../filter.js';
import { clamp, COLUMNS, ROWS_MAX, settle } from './layout.js';
import { COLOURS, complete, freshId, KINDS, SERIES_MAX, THRESHOLDS_MAX, topicsOf } from './tile.js';

export const VERSION = 1;
export const TILES_MAX = 120;
// What three streams of the broker carry: a browser opens no more than six connections.
export const TOPICS_MAX = 192;
const TEXT_MAX = 4096;

const isObject = (value) => typeof value === 'object' && value !== null && !Array.isArray(value);
const kinds = Object.keys(KINDS).join(', ');

/** The file of a board. */
export function toFile(name, tiles) {
  return `${JSON.stringify({ corkboard: 'board', version: VERSION, name, tiles }, null, 2)}\n`;
}

/** A file name for a board. */
export const fileName = (name) => `${slug(name) || 'board'}.board.json`;

/** The id a board of that name gets: what the store takes, different from `taken`. */
export function idFor(name, taken = []) {
  const base = slug(name).slice(0, 56) || 'board';
  if (!taken.includes(base)) return base;
  for (let at = 2; ; at += 1) if (!taken.includes(`${base}-${at}`)) return `${base}-${at}`;
}

function slug(name) {
  return name.normalize('NFKD').replace(/[\u0300-\u036f]/g, '').toLowerCase().replace(/[^a-z0-9]+/g, '-').replace(/^-+|-+$/g, '');
}

/** Reads a file: `{ name, tiles, faults }`; `faults` (`{ where, what }`) is empty if it can be used. */
export function fromFile(source) {
  let file;
  try {
    file = JSON.parse(source);
  } catch (error) {
    return { name: '', tiles: [], faults: [{ where: 'file', what: `is no JSON: ${place(source, error.message)}` }] };
  }
  if (!isObject(file)) return { name: '', tiles: [], faults: [{ where: 'file', what: 'is no object with “corkboard”, “name” and “tiles”' }] };
  const faults = [];
  if (file.corkboard !== 'board') faults.push({ where: 'corkboard', what: 'is not “board”: this is no file of a board' });
  if (typeof file.name !== 'string' || file.name.trim() === '' || file.name.length > 100) faults.push({ where: 'name', what: 'is no text of 1 to 100 characters' });
  const known = check(file);
  return { name: typeof file.name === 'string' ? file.name.trim() : '', tiles: known.tiles, faults: [...faults, ...known.faults] };
}

// “position 17” helps nobody: line and column do.
function place(source, message) {
  const at = /position (\d+)/.exec(message);
  if (at === null || /line \d+/.test(message)) return message;
  const before = source.slice(0, Number(at[1])).split('\n');
  return `${message} (line ${before.length}, column ${before.at(-1).length + 1})`;
}

/** What of a board's content (`{ version, tiles }`) can be shown, and what is wrong with it. */
export function check(content) {
  const faults = [];
  if (!isObject(content)) return { tiles: [], faults: [{ where: 'content', what: 'is no object' }] };
  if (content.version !== VERSION) {
    faults.push({ where: 'version', what: `is ${JSON.stringify(content.version)}; this dashboard reads ${VERSION}` });
  }
  if (!Array.isArray(content.tiles)) return { tiles: [], faults: [...faults, { where: 'tiles', what: 'is no list' }] };
  if (content.tiles.length > TILES_MAX) faults.push({ where: 'tiles', what: `has ${content.tiles.length} members; a board has at most ${TILES_MAX}` });
  const tiles = [];
  for (const [at, raw] of content.tiles.slice(0, TILES_MAX).entries()) {
    const before = faults.length;
    checkTile(raw, `tiles[${at}]`, (where, what) => faults.push({ where, what }));
    if (faults.length > before) continue;
    const own = typeof raw.id === 'string' && /^[\w-]{1,40}$/.test(raw.id) && !tiles.some((tile) => tile.id === raw.id);
    tiles.push(clamp(complete({ ...raw, id: own ? raw.id : freshId(tiles) }), KINDS[raw.kind].least));
  }
  const topics = topicsOf(tiles).length;
  if (topics > TOPICS_MAX) faults.push({ where: 'tiles', what: `show ${topics} topics; a board has at most ${TOPICS_MAX}` });
  return { tiles: settle(tiles), faults };
}

function checkTile(raw, where, fault) {
  if (!isObject(raw)) return fault(where, 'is no object');
  if (!Object.hasOwn(KINDS, String(raw.kind))) return fault(`${where}.kind`, `is ${JSON.stringify(raw.kind)}; there are ${kinds}`);
  const settings = KINDS[raw.kind].settings;
  const known = ['id', 'kind', 'title', 'x', 'y', 'w', 'h', ...Object.keys(settings)];
  for (const key of Object.keys(raw)) if (!known.includes(key)) fault(`${where}.${key}`, `is nothing a ${raw.kind} has`);
  for (const [key, most] of [['x', COLUMNS - 1], ['y', 10000], ['w', COLUMNS], ['h', ROWS_MAX]]) {
    if (raw[key] !== undefined && !(Number.isInteger(raw[key]) && raw[key] >= 0 && raw[key] <= most)) fault(`${where}.${key}`, `is no whole number from 0 to ${most}`);
  }
  if (raw.title !== undefined && (typeof raw.title !== 'string' || raw.title.length > 200)) fault(`${where}.title`, 'is no text of at most 200 characters');
  for (const [key, first] of Object.entries(settings)) {
    if (raw[key] !== undefined) checkSetting(key, raw[key], first, `${where}.${key}`, fault);
  }
  if (typeof raw.min === 'number' && typeof raw.max === 'number' && raw.min >= raw.max) fault(`${where}.max`, `is not larger than min (${raw.min})`);
  if ('topic' in settings && typeof (raw.topic ?? '') === 'string') checkTopic(raw.topic ?? '', `${where}.topic`, fault);
  if (typeof raw.target === 'string' && raw.target !== '') checkTopic(raw.target, `${where}.target`, fault);
  return undefined;
}

function checkTopic(topic, where, fault) {
  // A switch may only send, a tile may wait for its topic: nothing is right, wildcards are not.
  const wrong = topic === '' ? null : topicFault(topic);
  if (wrong !== null) fault(where, wrong.replace(/^A topic( to publish to)? /, ''));
}

const RULES = {
  qos: [(value) => [0, 1, 2].includes(value), 'is not 0, 1 or 2'],
  decimals: [(value) => value === null || (Number.isInteger(value) && value >= 0 && value <= 6), 'is not null or a whole number from 0 to 6'],
  stale: [(value) => value === null || (Number.isFinite(value) && value > 0), 'is not null or a number of seconds'],
  step: [(value) => Number.isFinite(value) && value > 0, 'is no number above 0'],
  seconds: [(value) => Number.isInteger(value) && value >= 10 && value <= 2592000, 'is no whole number of seconds from 10 to 2592000'],
  low: [(value) => value === null || Number.isFinite(value), 'is not null or a number'],
  high: [(value) => value === null || Number.isFinite(value), 'is not null or a number'],
  colour: [(value) => Object.hasOwn(COLOURS, String(value)), `is none of ${Object.keys(COLOURS).join(', ')}`],
  colour_off: [(value) => value === '' || Object.hasOwn(COLOURS, String(value)), `is none of ${Object.keys(COLOURS).join(', ')}`],
};

function checkSetting(key, value, first, where, fault) {
  if (key === 'series') return checkList(value, where, SERIES_MAX, fault, checkLine);
  if (key === 'thresholds') return checkList(value, where, THRESHOLDS_MAX, fault, checkThreshold);
  if (RULES[key] !== undefined) return RULES[key][0](value) ? undefined : fault(where, RULES[key][1]);
  if (typeof value !== typeof first) return fault(where, `is no ${{ string: 'text', boolean: 'true or false', number: 'number' }[typeof first]}`);
  return typeof value === 'string' && value.length > TEXT_MAX ? fault(where, `is longer than ${TEXT_MAX} characters`) : undefined;
}

function checkList(list, where, most, fault, one) {
  if (!Array.isArray(list)) return fault(where, 'is no list');
  if (list.length > most) fault(where, `has ${list.length} members; there may be ${most}`);
  list.forEach((value, at) => (isObject(value) ? one(value, `${where}[${at}]`, fault) : fault(`${where}[${at}]`, 'is no object')));
  return undefined;
}

function checkLine(line, where, fault) {
  if (typeof line.topic !== 'string' || line.topic === '') fault(`${where}.topic`, 'is no topic');
  else checkTopic(line.topic, `${where}.topic`, fault);
  for (const key of ['field', 'label']) if (line[key] !== undefined && typeof line[key] !== 'string') fault(`${where}.${key}`, 'is no text');
  if (!Object.hasOwn(COLOURS, String(line.colour))) fault(`${where}.colour`, RULES.colour[1]);
}

function checkThreshold(threshold, where, fault) {
  if (!Number.isFinite(threshold.from)) fault(`${where}.from`, 'is no number');
  if (!Object.hasOwn(COLOURS, String(threshold.colour))) fault(`${where}.colour`, RULES.colour[1]);
}
