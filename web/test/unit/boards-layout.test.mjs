import assert from 'node:assert/strict';
import { test } from 'node:test';
import { carry, clamp, columnsFor, free, height, inOrder, put, reflow, settle, step, swap, widthFrom, widthOn } from '../../src/lib/boards/layout.js';

const tile = (id, x, y, w, h) => ({ id, x, y, w, h });
const places = (tiles) => Object.fromEntries(inOrder(tiles).map(({ id, x, y, w, h }) => [id, [x, y, w, h]]));
const overlaps = (tiles) => tiles.some((one, at) => tiles.slice(at + 1).some((other) => one.x < other.x + other.w
  && other.x < one.x + one.w && one.y < other.y + other.h && other.y < one.y + one.h));

test('tiles fall upwards and keep their order in a column', () => {
  const settled = settle([tile('a', 0, 3, 3, 2), tile('b', 0, 9, 3, 2), tile('c', 6, 5, 6, 4)]);
  assert.deepEqual(places(settled), { a: [0, 0, 3, 2], b: [0, 2, 3, 2], c: [6, 0, 6, 4] });
});

test('what overlaps is taken apart', () => {
  const settled = settle([tile('a', 0, 0, 4, 4), tile('b', 2, 1, 4, 4), tile('c', 3, 2, 9, 1)]);
  assert.equal(overlaps(settled), false);
  assert.equal(settled.length, 3);
});

test('a moved tile pushes what it covers, and takes its place', () => {
  const board = [tile('a', 0, 0, 3, 4), tile('b', 0, 4, 3, 4)];
  assert.deepEqual(places(put(board, 'b', { y: 1 })), { b: [0, 0, 3, 4], a: [0, 4, 3, 4] });
  assert.deepEqual(places(put(board, 'a', { y: 4 })), { b: [0, 0, 3, 4], a: [0, 4, 3, 4] });
  assert.deepEqual(places(put(board, 'a', { y: 1 })), { a: [0, 0, 3, 4], b: [0, 4, 3, 4] });
});

test('sizes and places stay inside the grid', () => {
  assert.deepEqual(clamp(tile('a', 11, -2, 40, 99)), tile('a', 0, 0, 12, 16));
  assert.deepEqual(clamp(tile('a', 11, 0, 1, 1), { w: 2, h: 2 }), tile('a', 10, 0, 2, 2));
});

test('a new tile takes the first free place', () => {
  const board = [tile('a', 0, 0, 3, 4), tile('b', 6, 0, 6, 4)];
  assert.deepEqual(free(board, 3, 2), { x: 3, y: 0, w: 3, h: 2 });
  assert.deepEqual(free(board, 4, 2), { x: 0, y: 4, w: 4, h: 2 });
  assert.deepEqual(free([], 12, 1), { x: 0, y: 0, w: 12, h: 1 });
});

test('the keyboard moves a tile past its neighbour, and stops at the edge', () => {
  const board = [tile('a', 0, 0, 3, 4), tile('b', 0, 4, 3, 2), tile('c', 3, 0, 3, 2)];
  assert.deepEqual(places(step(board, 'a', 'down')).a, [0, 2, 3, 4]);
  assert.deepEqual(places(step(board, 'b', 'up')).b, [0, 0, 3, 2]);
  assert.equal(step(board, 'a', 'up'), board);
  assert.equal(step(board, 'a', 'left'), board);
  assert.deepEqual(places(step(board, 'c', 'right')).c, [4, 0, 3, 2]);
});

test('swap exchanges neighbours of the reading order', () => {
  const board = [tile('a', 0, 0, 3, 4), tile('b', 3, 0, 3, 4), tile('c', 0, 4, 6, 3)];
  assert.deepEqual(inOrder(swap(board, 'a', 1)).map(({ id }) => id), ['b', 'a', 'c']);
  assert.deepEqual(inOrder(swap(board, 'c', -1)).map(({ id }) => id)[0], 'a');
  assert.equal(swap(board, 'a', -1), board);
  assert.equal(overlaps(swap(board, 'c', -1)), false);
});

test('carry takes a tile to the place of another, as it is read', () => {
  const board = ['a', 'b', 'c', 'd'].map((id, at) => tile(id, (at % 2) * 6, Math.floor(at / 2) * 2, 6, 2));
  const order = (tiles) => inOrder(tiles).map(({ id }) => id).join('');
  assert.equal(order(carry(board, 'a', 'd')), 'bcda');
  assert.equal(order(carry(board, 'd', 'b')), 'adbc');
  assert.equal(carry(board, 'a', 'a'), board);
  const uneven = [tile('a', 0, 0, 3, 4), tile('b', 3, 0, 9, 2), tile('c', 3, 2, 4, 5), tile('d', 0, 7, 12, 3)];
  assert.equal(order(carry(uneven, 'd', 'a'))[0], 'd');
  assert.equal(overlaps(carry(uneven, 'a', 'd')), false);
});

test('a width on a narrow grid changes the stored one only if it differs there', () => {
  assert.deepEqual([3, 4, 5, 12].map((w) => widthOn(2, w)), [1, 1, 2, 2]);
  assert.deepEqual([1, 2, 3, 12].map((w) => widthOn(6, w)), [2, 2, 2, 6]);
  assert.equal(widthFrom(2, 3, 1.2), 3);
  assert.equal(widthFrom(2, 3, 1.8), 8);
  assert.equal(widthFrom(2, 9, 0.9), 4);
  assert.equal(widthFrom(6, 5, 3), 5);
  assert.equal(widthFrom(6, 5, 4.2), 8);
  assert.equal(widthFrom(12, 5, 6.3), 6.3);
});

test('a narrow screen gets two columns without holes that something fills', () => {
  const board = [tile('a', 0, 0, 3, 4), tile('b', 3, 0, 6, 5), tile('c', 9, 0, 3, 4)];
  assert.deepEqual(places(reflow(board, 2)), { a: [0, 0, 1, 4], c: [1, 0, 1, 4], b: [0, 4, 2, 5] });
  assert.equal(height(reflow(board, 2)), 9);
  assert.deepEqual(places(reflow(board, 12)), places(board));
  assert.equal(overlaps(reflow(board, 6)), false);
  assert.deepEqual([1200, 500, 390].map(columnsFor), [12, 6, 2]);
});

test('whatever is moved wherever, nothing overlaps and nothing is lost', () => {
  let seed = 7;
  const random = (below) => { seed = (seed * 1103515245 + 12345) % 2147483648; return seed % below; };
  let board = Array.from({ length: 12 }, (_, at) => clamp(tile(`t${at}`, random(12), random(20), 1 + random(6), 1 + random(5))));
  board = settle(board);
  for (let round = 0; round < 300; round += 1) {
    board = put(board, `t${random(12)}`, { x: random(12), y: random(20), w: 1 + random(8), h: 1 + random(6) });
    assert.equal(overlaps(board), false);
    assert.equal(new Set(board.map(({ id }) => id)).size, 12);
  }
});
