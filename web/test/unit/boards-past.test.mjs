import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pointsOf } from '../../src/lib/boards/past.js';

const columns = ['time', 'min', 'max', 'mean', 'last', 'count'];

test('of steps the mean is drawn, of single values the value', () => {
  const steps = { series: [{ topic: 'a', field: '', columns, points: [[100, 1, 3, 2, 3, 4]] }] };
  assert.deepEqual(pointsOf(steps, 'a', ''), [[100, 2]]);
  const single = { series: [{ topic: 'a', field: 't', columns: ['time', 'value'], points: [[100, 7]] }] };
  assert.deepEqual(pointsOf(single, 'a', 't'), [[100, 7]]);
});

test('other fields and topics are left out, and columns nobody knows are no points', () => {
  const answer = { series: [{ topic: 'a', field: 'x', columns, points: [[1, 1, 1, 1, 1, 1]] }, { topic: 'b', field: '', columns: ['when', 'what'], points: [[1, 2]] }] };
  assert.deepEqual(pointsOf(answer, 'a', ''), []);
  assert.deepEqual(pointsOf(answer, 'b', ''), []);
  assert.deepEqual(pointsOf({ series: [] }, 'a', ''), []);
});
