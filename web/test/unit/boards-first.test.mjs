import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check, VERSION } from '../../src/lib/boards/content.js';
import { FirstBoard } from '../../src/lib/boards/first.js';

const say = (topic, payload) => ({ topic, payload: String(payload), encoding: 'utf8', size: String(payload).length, qos: 0, retain: false });

test('a small house becomes gauges, charts and lamps', () => {
  const first = new FirstBoard();
  assert.deepEqual(first.tiles(), []);
  const house = [say('sensors/kitchen/status', 'online'), say('sensors/kitchen/temperature', 20.2), say('sensors/bedroom/temperature', 19),
    say('sensors/kitchen/humidity', 48), say('sensors/hall/door', 'closed'), say('notes', 'nothing to see'), say('sensors/attic/pressure', 1010.3)];
  assert.deepEqual(house.map((message) => first.observe(message)), [true, true, true, true, true, false, true]);
  assert.equal(first.observe(house[1]), false);
  const tiles = first.tiles();
  assert.deepEqual(tiles.map(({ kind, title }) => [kind, title]), [
    ['gauge', 'Bedroom temperature'], ['gauge', 'Kitchen temperature'], ['gauge', 'Kitchen humidity'], ['gauge', 'Attic pressure'],
    ['chart', 'Temperature'], ['chart', 'Humidity'], ['lamp', 'Kitchen status'], ['lamp', 'Hall door']]);
  assert.deepEqual(tiles[4].series.map(({ label }) => label), ['bedroom', 'kitchen']);
  assert.equal(tiles[4].unit, '°C');
  const { tiles: judged, faults } = check({ version: VERSION, tiles });
  assert.deepEqual(faults, []);
  assert.deepEqual(judged.map(({ id, x, y }) => [id, x, y]), tiles.map(({ id, x, y }) => [id, x, y]));
});

test('numbers inside JSON are found, and a flood of topics is bounded', () => {
  const first = new FirstBoard();
  assert.equal(first.observe(say('shelly/1', '{"power":{"total":120},"on":true,"name":"x"}')), true);
  assert.deepEqual(first.tiles()[0].field, 'power.total');
  for (let at = 0; at < 5000; at += 1) first.observe(say(`load/${at}/temperature`, at));
  for (let at = 0; at < 5000; at += 1) first.observe(say(`load/${at}/state`, 'on'));
  assert.equal(first.full, true);
  assert.ok(first.tiles().length <= 8 + 2 + 6);
  assert.deepEqual(check({ version: VERSION, tiles: first.tiles() }).faults, []);
});

test('what is cleared, of the broker itself, or too long is left out', () => {
  const first = new FirstBoard();
  assert.equal(first.observe(say('a', '')), false);
  assert.equal(first.observe(say('$SYS/broker/uptime', '5')), false);
  assert.equal(first.observe({ ...say('a', '5'), size: 9000 }), false);
});
