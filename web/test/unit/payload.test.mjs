import assert from 'node:assert/strict';
import { test } from 'node:test';
import { field, numericFields, recognise } from '../../src/lib/payload.js';

const json = (text) => recognise(new TextEncoder().encode(text));

test('each number of a payload has a path of its own, by which it is found again', () => {
  for (const [text, expected] of [
    ['{"a.b":1,"a":{"b":2}}', [['a.b', 1]]],
    ['{"a":{"b":2},"a.b":1}', [['a.b', 1]]],
    ['{"a.b":{"x":1},"a":{"b":{"c":2}}}', [['a.b.x', 1], ['a.b.c', 2]]],
    ['{"":5,"x":{"":6},"y":[1,2]}', [['x.', 6], ['y.0', 1], ['y.1', 2]]],
    ['{"..":1,".":{".":2},"__proto__":{"n":3}}', [['..', 1], ['...', 2], ['__proto__.n', 3]]],
    ['21.5', [['', 21.5]]],
  ]) {
    const known = json(text);
    assert.deepEqual(numericFields(known), expected, text);
    for (const [path, number] of expected) assert.equal(field(known, path), number, `${path} of ${text}`);
  }
});

test('a path that leads nowhere has no value', () => {
  for (const path of ['c', 'a.c', 'a.b.c', 'toString', 'list.length']) {
    assert.equal(field(json('{"a":{"b":1},"list":[1]}'), path), undefined, path);
  }
});
