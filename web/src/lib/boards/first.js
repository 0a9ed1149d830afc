// The board of a new broker: nobody made it, it grows from the first topics that are seen. Pure: fed with messages, it
// says whether it changed.

import { isOn, scale } from '../guess.js';
import { field, numberOf, numericFields, recognise } from '../payload.js';
import { bytesOf } from '../tree.js';
import { complete, make, seriesOf, SERIES_MAX } from './tile.js';

export const FIRST_ID = 'first-values';
export const FIRST_NAME = 'First values';
const GAUGES_MAX = 8;
const LAMPS_MAX = 6;
const CHARTS_MAX = 2;
const FIELDS_MAX = 4;

/** Collects the numbers and states of the topics that come first. */
export class FirstBoard {
  constructor() {
    this.sources = new Map();
    this.order = new Intl.Collator('en', { numeric: true });
  }

  /** Whether there is room for nothing more. */
  get full() { return this.count('number') >= GAUGES_MAX + 4 && this.count('state') >= LAMPS_MAX; }

  count(kind) {
    let count = 0;
    for (const source of this.sources.values()) if (source.kind === kind) count += 1;
    return count;
  }

  /** Takes up a message of the API; says whether the board is another one now. */
  observe(message) {
    if (message.topic.startsWith('$') || message.size === 0 || message.size > 4096 || message.truncated) return false;
    const known = recognise(bytesOf(message), message.properties?.content_type);
    const fields = typeof known.value === 'object' ? numericFields(known).slice(0, FIELDS_MAX) : [['', field(known, '')]];
    let changed = false;
    for (const [path, raw] of fields) changed = this.take(message.topic, path, raw) || changed;
    return changed;
  }

  take(topic, path, raw) {
    const key = `${topic}\0${path}`;
    const known = this.sources.get(key);
    const number = numberOf(raw);
    if (known !== undefined) {
      if (number !== undefined && known.values.length < 20) known.values.push(number);
      return false;
    }
    const kind = typeof raw === 'boolean' || isOn(raw) !== undefined && typeof raw !== 'number' ? 'state' : number !== undefined ? 'number' : null;
    if (kind === null || this.count(kind) >= (kind === 'number' ? GAUGES_MAX + 4 : LAMPS_MAX)) return false;
    this.sources.set(key, { id: `t${this.sources.size + 1}`, topic, path, raw: number !== undefined && kind === 'number' ? number : raw, kind, values: number === undefined ? [] : [number] });
    return true;
  }

  /** The tiles: gauges of like things beside each other, lines over time below them, lamps at the end. */
  tiles() {
    const all = [...this.sources.values()];
    const kindOf = ({ topic, path }) => (path === '' ? topic.split('/').at(-1) : path.split('.').at(-1)).toLowerCase();
    const groups = new Map();
    for (const source of all.filter(({ kind }) => kind === 'number')) {
      const name = kindOf(source);
      groups.set(name, [...(groups.get(name) ?? []), source]);
    }
    const numbers = [...groups.values()].sort((one, other) => other.length - one.length).flatMap((group) => group
      .sort((one, other) => this.order.compare(one.topic, other.topic))).slice(0, GAUGES_MAX);
    const states = all.filter(({ kind }) => kind === 'state');
    const flow = new Flow();
    for (const source of numbers) flow.add(this.single(source));
    flow.line();
    [...groups.values()].slice(0, CHARTS_MAX).forEach((group, at) => flow.add(this.chart(group, `c${at + 1}`)));
    flow.line();
    for (const source of states) flow.add(this.single(source));
    return flow.tiles;
  }

  single({ id, topic, path, raw, values, kind }) {
    const tile = make({ topic, field: path, kind: kind === 'state' ? 'lamp' : undefined }, raw, values, id);
    return tile.kind === 'gauge' || tile.kind === 'lamp' ? tile : complete({ ...tile, kind: 'value', w: 3, h: 4 });
  }

  chart(group, id) {
    let series = [];
    for (const { topic, path } of group.slice(0, SERIES_MAX)) series = [...series, seriesOf(series, topic, path)];
    const { topic, path, values } = group[0];
    const name = (path === '' ? topic.split('/').at(-1) : path.split('.').at(-1)).replaceAll('_', ' ');
    const title = name === '' ? topic : name[0].toUpperCase() + name.slice(1);
    return complete({ id, kind: 'chart', title, series, unit: scale(topic, path, values).unit, seconds: 600 });
  }
}

// Left to right, line by line.
class Flow {
  constructor() { Object.assign(this, { tiles: [], x: 0, y: 0, tall: 0 }); }

  add(tile) {
    if (this.x + tile.w > 12) this.line();
    this.tiles.push({ ...tile, x: this.x, y: this.y });
    this.x += tile.w;
    this.tall = Math.max(this.tall, tile.h);
  }

  line() { Object.assign(this, { x: 0, y: this.y + this.tall, tall: 0 }); }
}
