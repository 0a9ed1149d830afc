import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tree } from '../../src/lib/tree.js';

const message = (topic, payload = '1') => ({ topic, payload, encoding: 'text', size: payload.length, retain: false });

test('branches are in order however their topics come, numbers as numbers', () => {
  const tree = new Tree();
  const all = Array.from({ length: 300 }, (_, at) => `${(at * 7919) % 1000}`);
  const names = (node) => node.ordered().map(({ name }) => name);
  for (const [at, name] of all.entries()) {
    tree.apply(message(`plant/${name}`), 0);
    if (at % 7 === 0) assert.equal(names(tree.find('plant')).length, at + 1);
  }
  assert.deepEqual(names(tree.find('plant')), [...all].sort((one, other) => one - other));
  for (const name of ['b', 'B', 'a/x', 'a', '']) tree.apply(message(name), 0);
  assert.deepEqual(names(tree.root), ['', 'a', 'b', 'B', 'plant']);
  tree.root.children.get('a').open = true;
  assert.deepEqual(tree.rows(null).map(({ path }) => path), ['', 'a', 'a/x', 'b', 'B', 'plant']);
  assert.deepEqual(tree.rows((topic) => topic === 'plant/919').map(({ path }) => path), ['plant', 'plant/919']);
});

test('a branch counts its topics once', () => {
  const tree = new Tree();
  for (const topic of ['a/b', 'a/c', 'a/b', 'a']) tree.apply(message(topic), 0);
  assert.deepEqual([tree.root.topics, tree.find('a').topics, tree.find('a/b').topics, tree.size], [3, 3, 1, 3]);
});
