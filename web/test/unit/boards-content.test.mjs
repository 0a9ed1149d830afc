import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check, fileName, fromFile, idFor, toFile } from '../../src/lib/boards/content.js';
import { add, KINDS, make } from '../../src/lib/boards/tile.js';

const file = (tiles, more = {}) => JSON.stringify({ corkboard: 'board', version: 1, name: 'Kitchen', tiles, ...more });
const faults = (tiles, more) => fromFile(file(tiles, more)).faults.map(({ where, what }) => `${where} ${what}`);

test('a board of every kind comes back from its file as it was', () => {
  let tiles = [];
  for (const kind of Object.keys(KINDS)) tiles = add(tiles, { topic: 'house/kitchen/temperature', kind }, 21, [20, 21]).tiles;
  const read = fromFile(toFile('Kitchen', tiles));
  assert.deepEqual(read.faults, []);
  assert.equal(read.name, 'Kitchen');
  const byId = (list) => Object.fromEntries(list.map((tile) => [tile.id, tile]));
  assert.deepEqual(Object.keys(byId(read.tiles)).sort(), Object.keys(byId(tiles)).sort());
  assert.deepEqual(toFile('K', fromFile(toFile('K', read.tiles)).tiles), toFile('K', read.tiles));
});

test('what is no board says so', () => {
  assert.match(fromFile('{\n name: 1}').faults[0].what, /^is no JSON: .*line 2/s);
  assert.match(fromFile('[]').faults[0].what, /no object/);
  assert.deepEqual(faults([], { corkboard: 'flow' }), ['corkboard is not “board”: this is no file of a board']);
  assert.deepEqual(faults([], { version: 2 }), ['version is 2; this dashboard reads 1']);
  assert.deepEqual(faults([], { name: '' }), ['name is no text of 1 to 100 characters']);
  assert.deepEqual(faults('x'), ['tiles is no list']);
});

test('faults say which setting of which tile is wrong', () => {
  assert.deepEqual(faults([{ kind: 'gauge', topic: 'a' }, 7]), ['tiles[1] is no object']);
  assert.match(faults([{ kind: 'dial' }])[0], /^tiles\[0\]\.kind is "dial"; there are gauge, value/);
  assert.match(faults([{ kind: '__proto__' }])[0], /^tiles\[0\]\.kind is "__proto__"/);
  assert.deepEqual(faults([{ kind: 'gauge', topic: 'a/+', min: 5, max: 5 }]), ['tiles[0].max is not larger than min (5)', 'tiles[0].topic holds no “+” and no “#”.']);
  assert.deepEqual(faults([{ kind: 'switch', qos: 3, retain: 'yes' }]), ['tiles[0].qos is not 0, 1 or 2', 'tiles[0].retain is no true or false']);
  assert.deepEqual(faults([{ kind: 'lamp', script: 'x' }]), ['tiles[0].script is nothing a lamp has']);
  assert.deepEqual(faults([{ kind: 'gauge', x: 12 }]), ['tiles[0].x is no whole number from 0 to 11']);
  assert.match(faults([{ kind: 'gauge', thresholds: [{ from: 3, colour: 'red; }' }] }])[0], /^tiles\[0\]\.thresholds\[0\]\.colour is none of series-2/);
  assert.match(faults([{ kind: 'chart', series: [{ topic: '', colour: 'good' }] }])[0], /^tiles\[0\]\.series\[0\]\.topic/);
  assert.match(faults(Array.from({ length: 121 }, () => ({ kind: 'lamp' })))[0], /^tiles has 121 members/);
});

test('of a board in the store the tiles that are right are shown', () => {
  const { tiles, faults: found } = check({ version: 1, tiles: [{ kind: 'lamp', topic: 'a' }, { kind: 'dial' }, { kind: 'lamp', id: 't1', topic: 'b' }] });
  assert.deepEqual(tiles.map(({ topic }) => topic), ['a', 'b']);
  assert.equal(new Set(tiles.map(({ id }) => id)).size, 2);
  assert.equal(found.length, 1);
  assert.deepEqual(check(null).tiles, []);
});

test('names become ids and file names', () => {
  assert.equal(idFor('Küche & Flur'), 'kuche-flur');
  assert.equal(idFor('Kitchen', ['kitchen', 'kitchen-2']), 'kitchen-3');
  assert.equal(idFor('厨房'), 'board');
  assert.match(idFor('x'.repeat(100)), /^[a-z0-9-]{1,64}$/);
  assert.equal(fileName('My house'), 'my-house.board.json');
  assert.equal(make({ topic: 'a' }, 'x', [], 't').title, 'A');
});
