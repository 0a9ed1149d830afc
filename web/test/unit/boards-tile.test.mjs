import assert from 'node:assert/strict';
import { test } from 'node:test';
import { columns, Trail } from '../../src/lib/boards/points.js';
import { add, colourOf, complete, filled, isStale, make, namesOf, seriesOf, stateOf, text, topicsOf } from '../../src/lib/boards/tile.js';

test('kind, unit and range are guessed from name and values', () => {
  const temperature = make({ topic: 'sensors/kitchen/temperature' }, 21.5, [21.5], 't1');
  assert.deepEqual([temperature.kind, temperature.unit, temperature.min, temperature.max], ['gauge', '°C', -10, 40]);
  assert.equal(temperature.title, 'Kitchen temperature');
  assert.equal(make({ topic: 'sensors/hall/door' }, 'closed', [], 't').kind, 'lamp');
  assert.equal(make({ topic: 'sensors/hall/door' }, 'closed', [], 't').colour, 'warn');
  assert.deepEqual(['colour', 'colour_off'].map((key) => make({ topic: 'a/status' }, 'online', [], 't')[key]), ['good', 'bad']);
  assert.equal(make({ topic: 'lamp/set' }, 'OFF', [], 't').kind, 'switch');
  assert.equal(make({ topic: 'lamp/set' }, 'OFF', [], 't').on, 'ON');
  assert.equal(make({ topic: 'lamp/brightness/set' }, 40, [40, 70], 't').kind, 'slider');
  assert.equal(make({ topic: 'a/note' }, 'hello there', [], 't').kind, 'value');
  assert.equal(make({ topic: 'a/total' }, 4, [1, 2, 3, 4], 't').kind, 'value');
  const chart = make({ topic: 'a/b/temperature', kind: 'chart' }, 20, [20], 't');
  assert.deepEqual(chart.series, [{ topic: 'a/b/temperature', field: '', label: 'b', colour: 'series-2' }]);
});

test('one value of an unknown kind gets room for what comes', () => {
  const ends = (...values) => { const { min, max } = make({ topic: 'test/dial' }, values[0], values, 't'); return [min, max]; };
  assert.deepEqual(ends(41), [0, 100]);
  assert.deepEqual(ends(0), [0, 2]);
  assert.deepEqual(ends(0.3), [0, 2]);
  assert.deepEqual(ends(1013, 1014), [0, 2000]);
  assert.deepEqual(ends(-5), [-10, 10]);
  assert.deepEqual(ends(10, 11, 12, 11), [8, 14]);
});

test('a tile keeps the settings of its kind and no others', () => {
  const lamp = complete({ id: 't1', kind: 'lamp', topic: 'a', min: 4, script: '<b>' });
  assert.deepEqual(Object.keys(lamp), ['id', 'kind', 'title', 'x', 'y', 'w', 'h', 'topic', 'field', 'on', 'off', 'colour', 'colour_off', 'stale']);
});

test('tiles are added where there is room, with names of their own', () => {
  const first = add([], { topic: 'a/temperature' }, 20);
  const second = add(first.tiles, { topic: 'b/temperature' }, 20);
  assert.deepEqual(second.tiles.map(({ id, x, y }) => [id, x, y]), [['t1', 0, 0], ['t2', 3, 0]]);
  const dropped = add(second.tiles, { topic: 'c/temperature' }, 20, [], { x: 0, y: 0 });
  assert.deepEqual(dropped.tiles.find(({ id }) => id === 't3').y, 0);
  assert.deepEqual(topicsOf(dropped.tiles).sort(), ['a/temperature', 'b/temperature', 'c/temperature']);
});

test('on and off are told by the payloads of the switch, then by words', () => {
  const plain = complete({ id: 't', kind: 'switch', on: 'heat', off: 'rest' });
  assert.deepEqual(['heat', 'rest', 'ON', 0, 'what', undefined].map((raw) => stateOf(plain, raw)), [true, false, true, false, undefined, undefined]);
  const json = complete({ id: 't', kind: 'switch', on: '{"state":"A"}', off: '{"state":"B"}' });
  assert.deepEqual(['A', 'B'].map((raw) => stateOf(json, raw)), [true, false]);
  const lamp = complete({ id: 't', kind: 'lamp', on: 'washing' });
  assert.deepEqual(['washing', 'drying'].map((raw) => stateOf(lamp, raw)), [true, false]);
});

test('thresholds colour a value from where they begin', () => {
  const gauge = complete({ id: 't', kind: 'gauge', thresholds: [{ from: 30, colour: 'bad' }, { from: 25, colour: 'warn' }] });
  assert.deepEqual([20, 25, 29.9, 31, 'x'].map((raw) => colourOf(gauge, raw)), ['series-2', 'warn', 'warn', 'bad', 'series-2']);
});

test('values become text and sliders payloads', () => {
  assert.equal(text({ decimals: 1 }, 21.54), '21.5');
  assert.equal(text({ decimals: null }, '7.25'), '7.25');
  assert.equal(text({}, { a: 1 }), '{"a":1}');
  assert.equal(text({}, undefined), '–');
  assert.equal(filled({ template: '{"level": {value}}', step: 0.1 }, 0.30000000000000004), '{"level": 0.3}');
  assert.equal(filled({ template: '{value}', step: 5, decimals: null }, 35), '35');
});

test('numbers that came regularly become stale, states do not', () => {
  const gauge = complete({ id: 't', kind: 'gauge' });
  assert.deepEqual([[14, 1], [16, 1], [40, 10], [51, 10], [9999, null]].map(([age, every]) => isStale(gauge, age, every)), [false, true, false, true, false]);
  assert.equal(isStale(complete({ id: 't', kind: 'lamp' }), 9999, 1), false);
  assert.equal(isStale(complete({ id: 't', kind: 'lamp', stale: 60 }), 61, null), true);
});

test('lines of a chart are named and coloured apart', () => {
  const one = seriesOf([], 'sensors/living_room/temperature', '');
  const two = seriesOf([one], 'sensors/bedroom/temperature', '');
  assert.deepEqual([one.label, two.label], ['living room', 'bedroom']);
  assert.notEqual(one.colour, two.colour);
  assert.equal(seriesOf([], 'meter', 'power.total').label, 'meter power.total');
});

test('a trail stays bounded, and is filled before what came live', () => {
  const trail = new Trail(600);
  for (let at = 0; at < 10000; at += 1) trail.push(1000 + at, at);
  assert.ok(trail.times.length <= 1440);
  assert.equal(trail.values.at(-1), 9999);
  const dense = new Trail(600);
  for (let at = 0; at < 6000; at += 1) dense.push(1000 + at / 10, at);
  assert.ok(dense.times.length <= 1440, String(dense.times.length));
  assert.equal(dense.values.at(-1), 5999);
  const late = new Trail(600);
  late.push(100, 5);
  late.fill([[90, 4], [80, 3], [105, 9], [85, null]]);
  assert.deepEqual([late.times, late.values], [[80, 90, 100], [3, 4, 5]]);
});

test('columns join trails by time and show gaps where nothing came', () => {
  const one = new Trail(600);
  const two = new Trail(600);
  for (const time of [1000, 1002, 1004, 1006, 1008, 1200]) one.push(time, time);
  two.push(1001, 7);
  const [times, first, second] = columns([one, two], 600, 1210);
  assert.deepEqual(times, [1000, 1001, 1002, 1004, 1006, 1008, 1010, 1200, 1210]);
  assert.deepEqual(first, [1000, undefined, 1002, 1004, 1006, 1008, null, 1200, undefined]);
  assert.equal(second[1], 7);
});

test('each line of a chart has a name of its own: its label, else what it shows', () => {
  const line = (label, topic = '', field = '') => ({ label, topic, field });
  for (const [lines, expected] of [
    [[line('', 'k/temperature'), line('', 'b/temperature')], ['k/temperature', 'b/temperature']],
    [[line('', 'k/air', 'temperature'), line('', 'k/air', 'humidity')], ['k/air temperature', 'k/air humidity']],
    [[line('T', 'a'), line('T', 'b'), line('T 2', 'c'), line('T', 'd')], ['T', 'T 2', 'T 2 2', 'T 3']],
    [[line(''), line(' ')], ['no topic', 'no topic 2']],
  ]) assert.deepEqual(namesOf(lines), expected);
});

test('a line ends with what stands beside its name, unless nothing came for long', () => {
  const trail = new Trail(60);
  for (let at = 0; at < 10; at += 1) trail.push(100 + at * 5, at);
  const [times, line] = columns([trail], 60, 147, [9.5]);
  assert.deepEqual([times.at(-1), line.at(-1)], [147, 9.5]);
  assert.equal(columns([trail], 60, 147)[1].at(-1), undefined);
  assert.equal(columns([trail], 600, 300, [9.5])[1].at(-1), undefined);
});
