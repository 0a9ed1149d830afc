// The topics of a broker as a tree, for tens of thousands of topics: plain objects, changed in place by batches of
// messages; the page asks for the rows it shows. Nothing here is reactive, and no payload is decoded before it is seen.

import { fromBase64, numberOf, preview, recognise } from './payload.js';
import { Rate } from './rate.js';

const TRACE_LENGTH = 40;
const NONE = Object.freeze([]);
const order = new Intl.Collator('en', { numeric: true });
const byName = (one, other) => order.compare(one.name, other.name);

class Node {
  constructor(name, path, parent) {
    this.name = name;
    this.path = path;
    this.parent = parent;
    this.depth = parent === null ? -1 : parent.depth + 1;
    this.children = new Map();
    // The children in order, and those that came since somebody asked for it.
    this.sorted = NONE;
    this.late = NONE;
    this.open = false;
    this.message = null;
    this.bytes = null;
    this.known = null;
    this.retained = false;
    this.trace = null;
    // Of this node and all below it.
    this.topics = 0;
    this.rate = new Rate();
    this.changed = 0;
  }

  /** The children in the order of their names; numbers in names count as numbers. */
  ordered() {
    if (this.late.length > 0) {
      // Tens of thousands come some hundred at a time: sorting them all each time would take longer than a frame.
      this.sorted = merged(this.sorted, this.late.sort(byName));
      this.late = NONE;
    }
    return this.sorted;
  }

  /** What the last message holds, decoded when asked for the first time. */
  payload() {
    if (this.message !== null && this.known === null) {
      this.bytes = bytesOf(this.message);
      this.known = recognise(this.bytes, this.message.properties?.content_type);
    }
    return this.known;
  }

  text(length) {
    const known = this.payload();
    return known === null ? '' : preview(this.bytes, known, length);
  }
}


// A list in order with others, in order too, put in their places. Comparing is what costs.
function merged(some, others) {
  if (some.length === 0) return others;
  const all = [];
  let from = 0;
  for (const one of others) {
    let [low, high] = [from, some.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (byName(some[middle], one) <= 0) low = middle + 1;
      else high = middle;
    }
    for (; from < low; from += 1) all.push(some[from]);
    all.push(one);
  }
  for (; from < some.length; from += 1) all.push(some[from]);
  return all;
}

const encoder = new TextEncoder();

/** The payload of a message of the API as bytes. */
export function bytesOf(message) {
  return message.encoding === 'base64' ? fromBase64(message.payload) : encoder.encode(message.payload);
}

export class Tree {
  constructor() { this.clear(); }

  clear() {
    this.root = new Node('', '', null);
    this.root.open = true;
    this.index = new Map();
    // Grows when rows come or go; not when values change.
    this.shape = 0;
    this.since = 0;
  }

  /** Messages are counted from now on: what came before has a gap behind it, or there was nothing. */
  begin(now) { this.since = now; }

  /** Messages per second at or below a node. */
  rate(node, now) { return node.rate.now(now, this.since); }

  get size() { return this.index.size; }

  node(topic) { return this.index.get(topic); }

  /** The node at a path, whether a message came on it or only below it. */
  find(path) {
    let at = this.root;
    for (const name of path.split('/')) {
      at = at.children.get(name);
      if (at === undefined) return undefined;
    }
    return at;
  }

  /** Takes up one message; `count` is how many it stands for. */
  apply(message, now, count = message.count ?? 1) {
    let node = this.index.get(message.topic);
    if (node === undefined) {
      // A cleared retained value is no reason to show a topic.
      if (message.retain && message.size === 0) return;
      node = this.grow(message.topic);
    }
    if (node.message === null) for (let at = node; at !== null; at = at.parent) at.topics += 1;
    node.message = message;
    node.known = null;
    node.bytes = null;
    node.changed = now;
    if (message.retain) node.retained = message.size > 0;
    trace(node, message, now);
    // What was retained when the page came says nothing about the rate.
    if (!message.retain) for (let at = node; at !== null; at = at.parent) at.rate.add(count, now, this.since);
  }

  grow(topic) {
    let at = this.root;
    for (const name of topic.split('/')) {
      let child = at.children.get(name);
      if (child === undefined) {
        child = new Node(name, at === this.root ? name : `${at.path}/${name}`, at);
        at.children.set(name, child);
        if (at.late === NONE) at.late = [];
        at.late.push(child);
      }
      at = child;
    }
    this.index.set(topic, at);
    this.shape += 1;
    return at;
  }

  /**
   * The rows to show, from top to bottom: every node whose ancestors are open; with `wanted` (a predicate on topics)
   * only what leads to a topic that fits, all open.
   */
  rows(wanted) {
    const rows = [];
    if (wanted === null) {
      const walk = (node) => {
        for (const child of node.ordered()) {
          rows.push(child);
          if (child.open) walk(child);
        }
      };
      walk(this.root);
      return rows;
    }
    const shown = new Set();
    for (const [topic, node] of this.index) {
      if (!wanted(topic)) continue;
      for (let at = node; at !== this.root && !shown.has(at); at = at.parent) shown.add(at);
    }
    const walk = (node) => {
      for (const child of node.ordered()) {
        if (!shown.has(child)) continue;
        rows.push(child);
        walk(child);
      }
    };
    walk(this.root);
    return rows;
  }
}

// The last numbers of a topic, for the small line in its row.
function trace(node, message, now) {
  if (message.encoding === 'base64' || message.size > 32) return;
  const number = numberOf(message.payload);
  if (number === undefined) return;
  node.trace ??= { times: [], values: [] };
  node.trace.times.push(now);
  node.trace.values.push(number);
  if (node.trace.values.length > TRACE_LENGTH) {
    node.trace.times.shift();
    node.trace.values.shift();
  }
}
