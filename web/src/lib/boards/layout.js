// Where the tiles of a board lie: a grid of 12 columns in which every tile falls upwards until it meets another one.
// Pure functions on lists of `{ id, x, y, w, h }`; none changes what it was given.

export const COLUMNS = 12;
export const ROWS_MAX = 16;

const reading = (one, other) => one.y - other.y || one.x - other.x;
const across = (one, other) => one.x < other.x + other.w && other.x < one.x + one.w;
const overlap = (one, other) => across(one, other) && one.y < other.y + other.h && other.y < one.y + one.h;

/** The tiles as they are read: row by row, from the left. */
export const inOrder = (tiles) => [...tiles].sort(reading);

/** How many rows the tiles take. */
export const height = (tiles) => Math.max(0, ...tiles.map((tile) => tile.y + tile.h));

/** A tile inside the grid: whole numbers, at least `least` (`{ w, h }`) large. */
export function clamp(tile, least = { w: 1, h: 1 }) {
  const w = Math.min(COLUMNS, Math.max(least.w, Math.round(tile.w)));
  const h = Math.min(ROWS_MAX, Math.max(least.h, Math.round(tile.h)));
  return { ...tile, w, h, x: Math.min(COLUMNS - w, Math.max(0, Math.round(tile.x))), y: Math.max(0, Math.round(tile.y)) };
}

/**
 * Lets every tile fall upwards, without one passing another. The tile `pinned` keeps its place against the others first:
 * what it covers goes below it, so that a dragged tile pushes.
 */
export function settle(tiles, pinned = null) {
  const held = tiles.find((tile) => tile.id === pinned);
  if (held === undefined) return fall(inOrder(tiles));
  const placed = [];
  for (const tile of inOrder(tiles.filter((other) => other !== held))) {
    const next = { ...tile, y: floor(tile, placed) };
    if (overlap(next, held)) next.y = held.y + held.h;
    placed.push(next);
  }
  return fall([held, ...placed].sort(reading));
}

function fall(ordered) {
  const placed = [];
  for (const tile of ordered) placed.push({ ...tile, y: floor(tile, placed) });
  return placed;
}

// The lowest row below all that lie in the same columns.
function floor(tile, placed) {
  return Math.max(0, ...placed.filter((other) => across(tile, other)).map((other) => other.y + other.h));
}

/** The first place, as one reads, where a tile of `w` by `h` lies free. */
export const free = (tiles, w, h) => within(tiles, w, h, COLUMNS);

/** The tiles after `id` was given another place or size. */
export function put(tiles, id, change, least) {
  return settle(tiles.map((tile) => (tile.id === id ? clamp({ ...tile, ...change }, least) : tile)), id);
}

/**
 * One step of a tile by the keyboard: `left`, `right`, or `up` and `down` as far as needed for something to change.
 * Returns the same list if it stands at the edge.
 */
export function step(tiles, id, direction) {
  const tile = tiles.find((one) => one.id === id);
  const sides = { left: [-1, 0], right: [1, 0], up: [0, -1], down: [0, 1] }[direction];
  for (let far = 1; far <= ROWS_MAX; far += 1) {
    const next = put(tiles, id, { x: tile.x + sides[0] * far, y: tile.y + sides[1] * far });
    if (!same(next, tiles)) return next;
    if (tile.y + sides[1] * far < 0) break;
  }
  return tiles;
}

/** Exchanges a tile with the one before (-1) or after (1) it: for screens where columns mean little. */
export function swap(tiles, id, by) {
  const ordered = inOrder(tiles);
  const at = ordered.findIndex((tile) => tile.id === id);
  const one = ordered[at];
  const other = ordered[at + by];
  if (one === undefined || other === undefined) return tiles;
  return settle(tiles.map((tile) => {
    if (tile.id === one.id) return clamp({ ...tile, x: other.x, y: other.y });
    return tile.id === other.id ? clamp({ ...tile, x: one.x, y: one.y }) : tile;
  }));
}

function same(some, others) {
  const places = new Map(others.map((tile) => [tile.id, tile]));
  return some.every((tile) => {
    const was = places.get(tile.id);
    return was !== undefined && was.x === tile.x && was.y === tile.y && was.w === tile.w && was.h === tile.h;
  });
}

/** How many columns a board of `width` pixels has: all, half, or two on a phone. */
export const columnsFor = (width) => (width >= 700 ? COLUMNS : width >= 460 ? 6 : 2);

/**
 * Carries a tile past its neighbours to where `goal` stands in the order of reading: for fingers, on screens where columns
 * mean little.
 */
export function carry(tiles, id, goal) {
  const place = (list, one) => inOrder(list).findIndex((tile) => tile.id === one);
  const end = place(tiles, goal);
  let next = tiles;
  for (let at = place(next, id); at !== end;) {
    const by = Math.sign(end - at);
    const swapped = swap(next, id, by);
    const there = place(swapped, id);
    if (Math.sign(there - at) !== by) break;
    [next, at] = [swapped, there];
  }
  return next;
}

/** How wide a tile of `w` is on a grid of `columns`. */
export function widthOn(columns, w) {
  if (columns === COLUMNS) return w;
  return columns === 2 ? (w <= 4 ? 1 : 2) : Math.max(2, Math.ceil(w / 2));
}

/** The width a tile of `w` gets that is to be `wanted` wide on a grid of `columns`: its own if it is so already. */
export function widthFrom(columns, w, wanted) {
  if (columns === COLUMNS) return wanted;
  const there = Math.min(columns, Math.max(1, Math.round(wanted)));
  if (there === widthOn(columns, w)) return w;
  return columns === 2 ? there * 4 : there * 2;
}

/** The tiles on a narrower grid: in the order of reading, each at the first place where it fits. */
export function reflow(tiles, columns) {
  if (columns === COLUMNS) return inOrder(tiles);
  const placed = [];
  for (const tile of inOrder(tiles)) {
    placed.push({ ...tile, ...within(placed, widthOn(columns, tile.w), tile.h, columns) });
  }
  return inOrder(placed);
}

function within(placed, w, h, columns) {
  for (let y = 0; ; y += 1) {
    for (let x = 0; x + w <= columns; x += 1) {
      const place = { x, y, w, h };
      if (!placed.some((tile) => overlap(tile, place))) return place;
    }
  }
}
