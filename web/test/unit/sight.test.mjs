import assert from 'node:assert/strict';
import { mock, test } from 'node:test';
import { Sight } from '../../src/pages/topics/sight.js';

const grants = (topics, granted = true) => ({ filters: topics.map((filter) => ({ filter, granted })) });

function watched() {
  mock.timers.reset();
  mock.timers.enable({ apis: ['setTimeout'] });
  const [streams, batches] = [[], []];
  const make = (path, query, handlers, options) => {
    const stream = { path, query, handlers, options, open: true };
    streams.push(stream);
    return () => { stream.open = false; };
  };
  const sight = new Sight((batch) => batches.push(batch), make);
  sight.begin({ interval: 400 }, (topic) => topic);
  return { sight, streams, batches };
}

test('what is in sight has a stream of its own only while topics wait', () => {
  const { sight, streams, batches } = watched();
  sight.see(['a', 'b']);
  sight.waits(0, 0);
  mock.timers.tick(1000);
  assert.equal(streams.length, 0);
  sight.waits(500, 1000);
  mock.timers.tick(1000);
  assert.deepEqual(streams[0].query, { interval: 400, filter: ['a', 'b'], retained: false });
  assert.equal(sight.serves('a'), false, 'not before the broker says so');
  streams[0].handlers.ready(grants(['a', 'b']));
  streams[0].handlers.batch('one');
  assert.deepEqual([sight.serves('a'), sight.serves('c'), batches], [true, false, ['one']]);
  sight.waits(0, 5000);
  assert.equal(streams[0].open, true, 'it stays for a while');
  sight.waits(0, 12_000);
  assert.deepEqual([streams[0].open, sight.serves('a')], [false, false]);
  sight.see(['c']);
  mock.timers.tick(1000);
  assert.equal(streams.length, 1, 'nothing waits any more');
});

test('another stream begins when scrolling rests, for as many topics as it may have', () => {
  const { sight, streams } = watched();
  sight.see(['a']);
  sight.waits(9, 0);
  mock.timers.tick(1000);
  streams[0].handlers.ready(grants(['a']));
  for (let step = 0; step < 10; step += 1) {
    sight.see(Array.from({ length: 100 }, (_, at) => `t/${step + at}`));
    sight.waits(9, step * 100);
    mock.timers.tick(100);
  }
  assert.deepEqual([streams.length, streams[0].open, sight.serves('a')], [1, true, true]);
  mock.timers.tick(1000);
  assert.deepEqual([streams.length, streams[0].open, streams[1].query.filter.length], [2, false, 64]);
  sight.see(streams[1].query.filter);
  mock.timers.tick(1000);
  assert.equal(streams.length, 2, 'the same topics need no other stream');
});

test('a lost or refused stream serves nothing', () => {
  const { sight, streams } = watched();
  sight.see(['a', 'b']);
  sight.waits(9, 0);
  mock.timers.tick(1000);
  streams[0].handlers.ready({ filters: [{ filter: 'a', granted: true }, { filter: 'b', granted: false }] });
  assert.deepEqual([sight.serves('a'), sight.serves('b')], [true, false]);
  streams[0].options.state('lost');
  assert.equal(sight.serves('a'), false);
  sight.stop();
  assert.equal(streams[0].open, false);
});
