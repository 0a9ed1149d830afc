import assert from 'node:assert/strict';
import { test } from 'node:test';
import { pieces } from '../../src/lib/json.js';

test('the pieces of a JSON text are the text again', () => {
  for (const value of [{ rpm: 1489.1, 'a"b': ['x: 1', -2e-7, true, null] }, 'plain', 12, [], '\\']) {
    const text = JSON.stringify(value, null, 2);
    assert.equal(pieces(text).map(([, part]) => part).join(''), text);
  }
  const kinds = (text) => pieces(text).filter(([kind]) => kind !== '').map(([kind, part]) => `${kind} ${part}`);
  assert.deepEqual(kinds('{"a": "b", "c": [-1.5e3, false]}'), ['key "a"', 'text "b"', 'key "c"', 'number -1.5e3', 'word false']);
  assert.equal(pieces('1'.repeat(30_000)).length, 1);
});
