// A long list of the API, page by page as one scrolls. Never holds what was not asked for; what is in view is asked
// for again from time to time, by the cursor of its page, so that a list of 100,000 costs no more than one of 100.

import { call } from './api.js';

const PAGE = 100;
/** Empty pages in a row that are gone through at once: a search may have many of them. */
const EMPTY_MAX = 20;

export class Pager {
  rows = $state.raw([]);
  /** Whether there is more behind the last row. */
  more = $state(true);
  busy = $state(false);
  fault = $state(null);
  #pages = [];
  #next = null;
  #ids = new Set();
  #round = 0;
  #abort = null;

  /** A list at `path`; `id(item)` is what an item is known by. With `body` it is asked for with POST, the query in it, too. */
  constructor(path, query, id, body = null) {
    this.path = path;
    this.query = query;
    this.id = id;
    this.body = body;
  }

  /** Begins again, with another query. Rows stay in sight until the first page came. */
  async restart(query) {
    this.query = query;
    this.#round += 1;
    this.#abort?.abort();
    this.busy = false;
    this.more = true;
    await this.load(true);
  }

  close() {
    this.#round += 1;
    this.#abort?.abort();
  }

  /** Fetches the next page, if there is one. */
  async load(fresh = false) {
    if (this.busy || !this.more) return;
    this.busy = true;
    const round = this.#round;
    if (fresh) { this.#pages = []; this.#ids.clear(); this.#next = null; }
    try {
      for (let tries = 0; tries < EMPTY_MAX; tries += 1) {
        const cursor = this.#next;
        const answer = await this.#ask(cursor);
        if (round !== this.#round) return;
        const items = answer.items.filter((item) => !this.#ids.has(this.id(item)));
        for (const item of items) this.#ids.add(this.id(item));
        this.#pages.push({ cursor, items });
        this.#next = answer.next ?? null;
        this.more = this.#next !== null;
        if (items.length > 0 || !this.more) break;
      }
      this.fault = null;
    } catch (problem) {
      if (round !== this.#round || problem.name === 'AbortError') return;
      this.fault = problem;
      this.more = false;
    } finally {
      if (round === this.#round) this.busy = false;
    }
    this.#show();
  }

  /** Asks again for the pages of the rows `from` to `to`. */
  async refresh(from, to) {
    if (this.busy || this.fault !== null) return;
    const round = this.#round;
    let at = 0;
    for (const page of [...this.#pages]) {
      const end = at + page.items.length;
      const seen = end >= from && at <= to && page.items.length > 0;
      at = end;
      if (!seen && this.rows.length > 0) continue;
      try {
        const answer = await this.#ask(page.cursor);
        if (round !== this.#round) return;
        this.#take(page, answer.items);
      } catch {
        return;
      }
      if (this.rows.length === 0) break;
    }
    this.#show();
  }

  // What is new in a page comes in; what is gone goes, unless newer ones only pushed it behind the page's end.
  #take(page, items) {
    const fresh = new Map(items.map((item) => [this.id(item), item]));
    const mine = new Set(page.items.map(this.id));
    const full = items.length >= PAGE;
    const kept = page.items.filter((item) => fresh.has(this.id(item)) || full);
    for (const item of page.items) if (!kept.includes(item)) this.#ids.delete(this.id(item));
    const added = items.filter((item) => !mine.has(this.id(item)) && !this.#ids.has(this.id(item)));
    for (const item of added) this.#ids.add(this.id(item));
    page.items = [...kept.map((item) => fresh.get(this.id(item)) ?? item), ...added];
  }

  #ask(cursor) {
    const { signal } = this.#abort = new AbortController();
    const query = { ...this.query, limit: PAGE, cursor };
    return this.body === null ? call('GET', this.path, { query, signal }) : call('POST', this.path, { body: { ...this.body, ...query }, signal });
  }

  #show() { this.rows = this.#pages.flatMap((page) => page.items); }
}
