// The live values behind the tiles: one stream for all topics of a board (the broker takes 64 filters in one), sampled to
// what an eye can follow. A tile asks for its topic and is drawn again when something came.

import { get } from '../api.js';
import { field, recognise } from '../payload.js';
import { open } from '../stream.js';
import { bytesOf } from '../tree.js';

const FILTERS_MAX = 64;
const INTERVAL = 250;
const SILENCE = 8000;
const DATED_MAX = 64;
// Topics that are remembered while nobody asked for them: those of a board that makes itself.
const SOURCES_MAX = 500;

/** What is known of one topic. */
class Source {
  // Milliseconds since 1970 of the last message; 0 if there was none. Tiles depend on it.
  at = $state(0);
  // Whether the rights let us read it.
  granted = $state(true);
  // Seconds between messages, as a fading mean; null before the third.
  every = $state(null);
  message = null;
  known = null;
  #seen = 0;

  take(message, time) {
    this.message = message;
    this.known = message.size === 0 && message.retain ? null : recognise(bytesOf(message), message.properties?.content_type);
    const gap = (time - this.at) / 1000;
    if (!message.retain) {
      this.#seen += 1;
      if (this.#seen === 3) this.every = gap;
      if (this.#seen > 3) this.every = this.every * 0.7 + gap * 0.3;
    }
    this.at = Math.max(time, this.at + 0.001);
  }

  /** What `path` names in the last message; undefined if there is nothing. */
  value(path) {
    // Read for the dependency.
    if (this.at === 0 || this.known === null) return undefined;
    return field(this.known, path);
  }
}

export class Feed {
  // connecting, open, lost, denied
  state = $state('connecting');
  // Why the broker refuses, if it does.
  problem = $state(null);
  #sources = new Map();
  #filters = '';
  #close = [];
  #listeners = new Set();

  source(topic) {
    let source = this.#sources.get(topic);
    if (source === undefined) this.#sources.set(topic, source = new Source());
    return source;
  }

  /** Follows these Topic Filters from now on; nothing happens if they are the same as before. */
  follow(filters) {
    const wanted = JSON.stringify([...filters].sort());
    if (wanted === this.#filters) return;
    this.end();
    this.#filters = wanted;
    const known = new Set(filters);
    for (const topic of this.#sources.keys()) if (!known.has(topic)) this.#sources.delete(topic);
    for (let at = 0; at < filters.length; at += FILTERS_MAX) this.#open(filters.slice(at, at + FILTERS_MAX));
    if (filters.length === 0) this.state = 'open';
  }

  #open(filter) {
    const query = { filter, interval: INTERVAL, payload_max: 65536, topics_max: 1000 };
    this.#close.push(open('messages', query, {
      ready: ({ filters }) => {
        this.problem = null;
        for (const { filter: topic, granted } of filters) this.source(topic).granted = granted;
      },
      batch: ({ items }) => this.#take(items),
    }, {
      silence: SILENCE,
      state: (now, problem) => {
        this.state = now;
        if (now === 'denied') this.#refused(filter, problem);
        if (now === 'lost') this.#why(filter);
      },
    }));
  }

  // A stream may end without saying why: one request without waiting for values does.
  async #why(filter) {
    if (this.problem !== null) return;
    const stop = new AbortController();
    const timer = setTimeout(() => stop.abort(), 2000);
    try {
      await get('messages', { filter, interval: 10000, topics_max: 1, retained: false }, stop.signal);
    } catch (problem) {
      if (problem.status === 403) this.#refused(filter, problem);
    }
    clearTimeout(timer);
  }

  #refused(filter, problem) {
    this.problem = problem.message;
    for (const topic of filter) this.source(topic).granted = false;
  }

  #take(items) {
    const now = Date.now();
    const old = [];
    for (const message of items) {
      if (!this.#sources.has(message.topic) && this.#sources.size >= SOURCES_MAX) continue;
      const source = this.source(message.topic);
      // A retained message after a break of the stream is nothing new.
      const again = message.retain && source.message !== null && source.message.payload === message.payload;
      if (!again) source.take(message, now);
      if (message.retain && !again) old.push(message.topic);
      for (const listener of this.#listeners) listener(message, source, now);
    }
    for (const topic of old.slice(0, DATED_MAX)) this.#date(topic, now);
  }

  // The stream does not say how old a retained message is.
  async #date(topic, seen) {
    try {
      const { items } = await get('retained', { filter: topic, payload_max: 1 });
      const source = this.source(topic);
      if (items.length === 1 && source.at >= seen && source.at < seen + 1) source.at = Math.min(Date.parse(items[0].time), source.at);
    } catch {
      // Its age stays unknown.
    }
  }

  /** Calls `listener(message, source, milliseconds)` for every message until the returned function is called. */
  listen(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  end() {
    for (const close of this.#close) close();
    this.#close = [];
    this.#filters = '';
    this.problem = null;
  }
}

/** The time now, once a second, for ages: `clock.now` in milliseconds. */
export const clock = $state({ now: Date.now() });
setInterval(() => { if (!document.hidden) clock.now = Date.now(); }, 1000);
