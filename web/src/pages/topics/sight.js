// The topics in sight, while so many change that they wait for their turn in the stream of all: a small stream of their own
// brings them at once.

import { open } from '../../lib/stream.js';

/** As many filters as a stream may have. */
const TOPICS_MAX = 64;
/** How long, in milliseconds, scrolling rests before other topics are asked for. */
const SETTLE = 300;
/** For so long nothing may have to wait before the stream ends. */
const CALM = 10_000;

export class Sight {
  #topics = [];
  #served = new Set();
  #asked = '';
  #close = null;
  #timer = null;
  #busyUntil = 0;
  #make;
  #take;
  #query = {};
  #filterOf = (topic) => topic;

  /** `take(batch)` is called with what comes; `make` opens a stream. */
  constructor(take, make = open) {
    this.#take = take;
    this.#make = make;
  }

  /** Begins anew: with these parameters of a stream, and `filterOf(topic)` for the filter of one topic. */
  begin(query, filterOf) {
    this.stop();
    this.#query = query;
    this.#filterOf = filterOf;
  }

  /** These topics are in sight now. */
  see(topics) {
    this.#topics = topics.slice(0, TOPICS_MAX);
    this.#settle();
  }

  /** So many topics wait for their turn now, at `now` milliseconds. */
  waits(count, now = performance.now()) {
    if (count > 0) {
      this.#busyUntil = now + CALM;
      if (this.#close === null) this.#settle();
    } else if (this.#busyUntil !== 0 && now >= this.#busyUntil) this.stop();
  }

  /** Whether a topic comes by this stream: then what the other one says of it is older. */
  serves(topic) { return this.#served.has(topic); }

  stop() {
    this.#end();
    this.#busyUntil = 0;
  }

  #end() {
    clearTimeout(this.#timer);
    this.#timer = null;
    this.#close?.();
    this.#close = null;
    this.#asked = '';
    this.#served.clear();
  }

  // What is in sight changes with each step of the wheel: a new stream is opened when it rests, the old one serves till then.
  #settle() {
    clearTimeout(this.#timer);
    this.#timer = this.#busyUntil === 0 ? null : setTimeout(() => this.#ask(), SETTLE);
  }

  #ask() {
    this.#timer = null;
    const asked = JSON.stringify(this.#topics);
    if (asked === this.#asked) return;
    this.#end();
    if (this.#topics.length === 0) return;
    this.#asked = asked;
    const topics = [...this.#topics];
    const filter = topics.map(this.#filterOf);
    this.#close = this.#make('messages', { ...this.#query, filter, retained: false }, {
      ready: ({ filters }) => { this.#served = new Set(topics.filter((_, at) => filters[at].granted)); },
      batch: this.#take,
    }, { silence: 5000, state: (now) => { if (now !== 'open') this.#served.clear(); } });
  }
}
