import assert from 'node:assert/strict';
import { test } from 'node:test';
import { beginning, INCREMENTS, range } from '../../src/lib/axis.js';
import { bytes, column, percent, steady } from '../../src/lib/format.js';

test('a scale of nothing but zeros has room, and no 1e-9', () => {
  assert.deepEqual(range(0, 0, { min: 0, least: 5 }), [0, 5]);
  assert.deepEqual(range(0, 0, { min: 0 }), [0, 1]);
  assert.deepEqual(range(null, null, { min: 0, least: 5 }), [0, 5]);
  assert.deepEqual(range(null, null, { lowest: 10, highest: 30 }), [10, 30]);
});

test('there is air above a peak, whether the lower end is fixed or not', () => {
  for (const ends of [{ lowest: 0 }, { min: 0 }]) {
    const [from, to] = range(200, 900, ends);
    assert.equal(from, 0);
    assert.ok(to > 900 * 1.04 && to < 900 * 1.15, `${to}`);
  }
  const [from, to] = range(18, 22);
  assert.ok(from < 18 && from > 17 && to > 22 && to < 23);
  assert.deepEqual(range(18, 22, { lowest: 10, highest: 30 }), [10, 30]);
  // What hardly moves is no mountain range.
  const flat = range(1000, 1000.1);
  assert.ok(flat[1] - flat[0] > 1, `${flat}`);
});

test('a chart begins with its first value if that is younger than its time span', () => {
  const data = (first) => [[first, 990, 1000], [null, 1, 2], [undefined, undefined, 3]];
  assert.equal(beginning(data(900), 600, 900, 1000), 970);
  assert.equal(beginning([[900, 1000], [1, 2]], 600, 900, 1000), 900);
  assert.equal(beginning([[100, 1000], [1, 2]], 600, 100, 1000), 400);
  assert.equal(beginning([[100, 1000], [1, 2]], null, 100, 1000), 100);
  assert.equal(beginning([[1000], [null]], 600, 1000, 1000), 970);
  assert.equal(beginning([[995, 1000], [1, 2]], 10, 995, 1000), 990);
});

test('bytes are at multiples of powers of two, counts at whole numbers', () => {
  assert.ok(INCREMENTS.binary.every((step, at, all) => at === 0 || step === all[at - 1] * 2));
  assert.deepEqual(INCREMENTS.whole.slice(0, 6), [1, 2, 5, 10, 20, 50]);
  assert.deepEqual([32, 48, 64].map((count) => bytes(count * 1048576)), ['32 MiB', '48 MiB', '64 MiB']);
});

test('columns of rates and per cents stand below each other', () => {
  assert.deepEqual([0.2, 1.371, 42, 1234].map(steady), ['0.20', '1.37', '42.0', '1234']);
  assert.deepEqual([0, 0.0042, 0.034, 0.0996, 0.5, 1.2, null].map(percent), ['0.0 %', '0.4 %', '3.4 %', '10 %', '50 %', '120 %', '–']);
  assert.deepEqual([0, 0.333, 12.3, 999, 4321, null].map(column), ['0.00', '0.33', '12.30', '999.00', '4321', '–']);
});
