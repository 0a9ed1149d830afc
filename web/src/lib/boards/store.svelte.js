// The boards in the broker's store: the list, and the one that is open with its changes, which are saved by themselves.

import { get, put, remove, segment } from '../api.js';
import { attempt, failed, said } from '../toast.svelte.js';
import { check, idFor, VERSION } from './content.js';
import { settle } from './layout.js';

const SAVE_AFTER = 500;
const UNDO_MAX = 50;

export const boards = $state({
  // The list of the store by name; null before it was read.
  list: null,
});

/** Reads the list; what went wrong is thrown. */
export async function refresh() {
  const { items } = await get('boards');
  boards.list = items.sort((one, other) => one.name.localeCompare(other.name, 'en', { numeric: true }));
}

/** Makes a board in the store; resolves to its id. */
export async function create(name, tiles = []) {
  const id = idFor(name, (boards.list ?? []).map((board) => board.id));
  await put(`boards/${id}`, { name, content: { version: VERSION, tiles }, revision: 0 });
  await refresh();
  return id;
}

export async function destroy(id) {
  await remove(`boards/${segment(id)}`);
  await refresh();
}

/** A board as it is shown and changed. */
export class Board {
  name = $state('');
  // Lists of tiles are never changed in place.
  tiles = $state.raw([]);
  // What of the saved content could not be read.
  faults = $state.raw([]);
  // saved, waiting, saving, failed, conflict
  status = $state('saved');
  // The newer board of the store that ours would overwrite.
  newer = $state.raw(null);
  undoable = $state(0);
  redoable = $state(0);
  // While something of it is dragged nothing is taken from the store.
  held = false;
  #past = [];
  #future = [];
  #timer = null;
  #busy = false;

  /** `revision` 0: not in the store yet; the first change saves it. */
  constructor({ id, name, revision, content }) {
    this.id = id;
    this.#take({ name, revision, content });
  }

  static async load(id) { return new Board(await get(`boards/${segment(id)}`)); }

  get saved() { return this.revision > 0; }

  #take({ name, revision, content }) {
    const { tiles, faults } = check(content);
    // Undoing what was before would undo what somebody else did.
    this.#past = [];
    this.#future = [];
    Object.assign(this, { name, tiles, faults, revision, undoable: 0, redoable: 0 });
  }

  /** Shows other tiles without saving: while something is dragged, or a board that nobody made grows. */
  show(tiles) { this.tiles = tiles; }

  /** Changes the board; `before` are the tiles to go back to. */
  change(tiles, before = this.tiles) {
    this.#past.push(before);
    if (this.#past.length > UNDO_MAX) this.#past.shift();
    this.#future = [];
    this.#set(tiles);
  }

  /** Takes one tile off the board. */
  remove({ id, title, topic }) {
    this.change(settle(this.tiles.filter((tile) => tile.id !== id)));
    said(`${title || topic || 'The tile'} was removed. Undo brings it back.`);
  }

  undo() { this.#travel(this.#past, this.#future); }

  redo() { this.#travel(this.#future, this.#past); }

  #travel(from, to) {
    if (from.length === 0) return;
    to.push(this.tiles);
    this.#set(from.pop());
  }

  #set(tiles) {
    this.tiles = tiles;
    this.undoable = this.#past.length;
    this.redoable = this.#future.length;
    this.#later();
  }

  rename(name) {
    this.name = name;
    this.#later();
  }

  #later() {
    if (this.status === 'conflict') return;
    this.status = 'waiting';
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.save(), SAVE_AFTER);
  }

  /** Saves what is not saved yet; one request at a time. */
  async save() {
    clearTimeout(this.#timer);
    if (this.#busy || !['waiting', 'failed'].includes(this.status)) return;
    this.#busy = true;
    this.status = 'saving';
    try {
      const fresh = !this.saved;
      const { revision } = await put(`boards/${segment(this.id)}`, this.#body(this.revision));
      this.revision = revision;
      if (this.status === 'saving') this.status = 'saved';
      if (fresh || this.name !== boards.list?.find(({ id }) => id === this.id)?.name) await refresh();
    } catch (problem) {
      if (problem.status === 409) await this.#conflict();
      else {
        this.status = 'failed';
        failed(problem);
      }
    }
    this.#busy = false;
    if (this.status === 'waiting') this.#later();
  }

  #body(revision) { return { name: this.name, content: { version: VERSION, tiles: this.tiles }, revision }; }

  async #conflict() {
    try {
      this.newer = await get(`boards/${segment(this.id)}`);
    } catch (problem) {
      if (problem.status !== 404) {
        this.status = 'failed';
        failed(problem);
        return;
      }
      // Somebody deleted it: what is here may be saved as a new one.
      this.newer = { gone: true, revision: 0 };
    }
    this.status = 'conflict';
  }

  /** Ends a conflict with the board of the store. */
  takeNewer() {
    this.#take(this.newer);
    Object.assign(this, { newer: null, status: 'saved' });
  }

  /** Ends a conflict with what is here. */
  overwrite() {
    this.revision = this.newer.revision;
    this.newer = null;
    this.status = 'waiting';
    return this.save();
  }

  /** Takes what others changed meanwhile, if nothing here waits to be saved. */
  async follow() {
    if (!this.saved || this.held || this.status !== 'saved') return;
    const listed = boards.list?.find(({ id }) => id === this.id);
    if (listed === undefined || listed.revision === this.revision) return;
    await attempt(async () => {
      const now = await get(`boards/${segment(this.id)}`);
      if (this.status === 'saved' && !this.held) this.#take(now);
    });
  }
}
