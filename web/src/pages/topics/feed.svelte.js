// The stream behind the tree: takes up batches a few milliseconds per frame, so that the page stays smooth whatever
// comes, and knows how much of what passed the broker it was not shown.

import { get } from '../../lib/api.js';
import { matcher } from '../../lib/filter.js';
import { open } from '../../lib/stream.js';
import { Tree } from '../../lib/tree.js';
import { Sight } from './sight.js';

const INTERVAL = 400;
// More than anybody can see change; what waits longer for its turn is told on the screen.
const TOPICS_MAX = 1000;
const PAYLOAD_MAX = 512;
const FRAME_BUDGET = 6;
// How often the marks of retained messages are looked at again: live messages do not say whether they were kept.
const MARKS_PAUSE = 8000;
const MARKS_STEP = 1000;

/** The filter to subscribe to for the topics of `filter` whose messages `where` lets through. */
export function subscription(filter, where) {
  if (where === '') return filter;
  const encoded = where.replace(/[%/+#]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
  return `$where/${encoded}/${filter}`;
}

export class Feed {
  tree = new Tree();
  // Grows with every frame that changed something: what shows the tree depends on it.
  frame = $state(0);
  state = $state('connecting');
  fault = $state('');
  paused = $state(false);
  // Whether the rights keep something of what was asked for from this page.
  partly = $state(false);
  // Messages per second as the broker counted them; those that were replaced by later ones before they were shown.
  seen = $state(0);
  skipped = $state(0);
  waiting = $state(0);

  #queue = [];
  #at = 0;
  #wanted = 0;
  #close = null;
  #marks = null;
  #round = 0;
  #generation = 0;
  // The filter of the retained messages: without a condition on the content.
  #plain = '#';
  #last = null;
  // Whether messages passed that were not counted.
  #gap = true;
  #sight = new Sight(({ items }) => this.#queued(items));

  /** Subscribes to `filters` on condition `where` instead of what was before; `fresh` forgets the tree. */
  follow(filters, where, fresh) {
    this.stop();
    this.#plain = filters[0];
    if (fresh) this.clear();
    this.state = 'connecting';
    this.fault = '';
    this.partly = false;
    this.#last = null;
    const query = { interval: INTERVAL, topics_max: TOPICS_MAX, payload_max: PAYLOAD_MAX };
    this.#sight.begin(query, (topic) => subscription(topic, where));
    this.#close = open('messages', { filter: filters.map((filter) => subscription(filter, where)), ...query }, {
      ready: ({ filters: told }) => {
        this.partly = told.some(({ granted }) => !granted);
        this.#gap = true;
      },
      batch: (batch) => this.#take(batch),
    }, {
      silence: 5000,
      state: (now, problem) => {
        this.state = now;
        this.fault = problem?.message ?? '';
        if (now !== 'open') this.#sight.stop();
        if (now === 'lost') this.seen = this.skipped = this.waiting = 0;
      },
    });
    this.#marks = setTimeout(() => this.#mark(null), 2500);
  }

  stop() {
    this.#close?.();
    this.#close = null;
    this.#sight.stop();
    clearTimeout(this.#marks);
    this.#round += 1;
    cancelAnimationFrame(this.#wanted);
    this.#wanted = 0;
    this.#queue = [];
    this.#at = 0;
  }

  /** These topics are in sight. */
  see(topics) { this.#sight.see(topics); }

  clear() {
    this.tree.clear();
    this.frame += 1;
  }

  /** Draws again: something changed that did not come with a message. */
  touch() { this.frame += 1; }

  #take(batch) {
    // By the broker's clock: batches that were held up on their way come close together.
    const now = Date.parse(batch.time);
    const seconds = this.#last === null ? INTERVAL / 1000 : Math.max(0.1, (now - this.#last) / 1000);
    this.#last = now;
    const smooth = (before, count) => (before * 2 + count / seconds) / 3;
    this.seen = smooth(this.seen, batch.seen);
    this.skipped = smooth(this.skipped, batch.skipped);
    this.waiting = batch.waiting;
    this.#sight.waits(batch.waiting);
    this.#queued(batch.items.filter(({ topic }) => !this.#sight.serves(topic)));
  }

  #queued(items) {
    if (this.paused) {
      this.#gap = true;
      return;
    }
    if (this.#gap) {
      this.#gap = false;
      this.tree.begin(Date.now() - INTERVAL);
    }
    for (const item of items) this.#queue.push(item);
    // A hidden page draws no frames: only the newest is kept until it is seen again.
    if (document.hidden) this.#drain(Infinity);
    else this.#wanted ||= requestAnimationFrame(() => this.#work());
  }

  #work() {
    this.#wanted = 0;
    this.#drain(FRAME_BUDGET);
    this.frame += 1;
    if (this.#queue.length > 0) this.#wanted = requestAnimationFrame(() => this.#work());
  }

  #drain(budget) {
    const from = performance.now();
    const now = Date.now();
    while (this.#at < this.#queue.length) {
      this.tree.apply(this.#queue[this.#at], now);
      this.#at += 1;
      if (this.#at % 64 === 0 && performance.now() - from > budget) return;
    }
    this.#queue = [];
    this.#at = 0;
  }

  // Walks through the list of retained messages, a page at a time, and puts the marks right.
  async #mark(cursor) {
    const round = this.#round;
    let next = null;
    try {
      const page = await get('retained', { filter: this.#plain, limit: 1000, payload_max: 0, cursor });
      if (round !== this.#round) return;
      if (cursor === null) this.#generation += 1;
      for (const { topic } of page.items) {
        const node = this.tree.node(topic);
        if (node === undefined) continue;
        node.retained = true;
        node.markedIn = this.#generation;
      }
      next = page.next;
      if (next === null) this.#sweep();
      this.frame += 1;
    } catch {
      // The next round may go better.
    }
    if (round === this.#round) this.#marks = setTimeout(() => this.#mark(next), next === null ? MARKS_PAUSE : MARKS_STEP);
  }

  #sweep() {
    const fits = matcher(this.#plain);
    for (const [topic, node] of this.tree.index) {
      if (node.retained && node.markedIn !== this.#generation && fits(topic)) node.retained = false;
    }
  }
}
