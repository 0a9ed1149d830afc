// Every topic there is, for choosing one: a sampled stream of all, only while somebody chooses.

import { tile as guess } from '../guess.js';
import { field, numericFields } from '../payload.js';
import { open } from '../stream.js';
import { Tree } from '../tree.js';

const OPEN_MAX = 80;

export class Topics {
  // Grows with every batch: rows depend on it.
  version = $state(0);
  skipped = $state(0);
  tree = new Tree();
  #opened = 0;

  /** Listens until the returned function is called. */
  follow(filter = '#') {
    return open('messages', { filter, interval: 1000, payload_max: 4096, topics_max: 1000 }, {
      batch: ({ items, waiting }) => {
        const now = Date.now();
        for (const message of items) this.tree.apply(message, now);
        // A small tree is shown whole.
        if (this.tree.size !== this.#opened && this.tree.size <= OPEN_MAX) {
          for (const node of this.tree.index.values()) for (let at = node.parent; at !== null; at = at.parent) at.open = true;
          this.#opened = this.tree.size;
        }
        this.skipped = waiting;
        this.version += 1;
      },
    }, { silence: 10000 });
  }

  /** The rows to show for a search (`wanted`, a predicate, or null), with the numbers inside JSON below their topic. */
  rows(wanted, most) {
    const rows = [];
    for (const node of this.tree.rows(wanted)) {
      if (rows.length >= most) break;
      const known = node.payload();
      const inner = known !== null && typeof known.value === 'object' && known.value !== null ? numericFields(known) : [];
      rows.push({ key: node.path, node, field: '', name: node.name, depth: node.depth, fields: inner.length });
      if (node.message !== null && (node.unfolded || wanted !== null)) {
        for (const [path] of inner) rows.push({ key: `${node.path}\0${path}`, node, field: path, name: path, depth: node.depth + 1, fields: 0 });
      }
    }
    return rows;
  }

  /** What a row stands for: topic, field, the last value, and the kind of tile that suits. */
  source({ node, field: path }) {
    const known = node.payload();
    const value = known === null ? undefined : field(known, path);
    const raw = typeof value === 'object' ? undefined : value;
    const values = path === '' ? node.trace?.values.slice(-20) ?? [] : typeof raw === 'number' ? [raw] : [];
    return { topic: node.path, field: path, raw, values, kind: guess(node.path, path, raw, values).kind };
  }

  /** The same for a topic and field of any origin. */
  find(topic, path = '') {
    const node = this.tree.node(topic);
    return node === undefined ? { topic, field: path, raw: undefined, values: [], kind: 'value' } : this.source({ node, field: path });
  }
}
