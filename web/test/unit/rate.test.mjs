import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rate } from '../../src/lib/rate.js';
import { Tree } from '../../src/lib/tree.js';

const BEGIN = 1_700_000_000_000;
const near = (seen, wanted, part, when) => assert.ok(Math.abs(seen - wanted) <= wanted * part, `${when}: ${seen}, not ${wanted}`);

/** Looks `every` milliseconds at what `count` at a time, each `period` milliseconds, makes. */
function look({ count, period, from = 0, to, every = 130, delay = (at) => at }) {
  const rate = new Rate();
  const readings = [];
  let [next, seen] = [0, 0];
  for (let now = 0; now <= to; now += 10) {
    for (; delay(next) <= now; next += period) rate.add(count, BEGIN + delay(next), BEGIN);
    if (now - seen >= every) {
      seen = now;
      if (now >= from) readings.push([now, rate.now(BEGIN + now, BEGIN)]);
    }
  }
  return readings;
}

test('a burst each second is its size per second, whenever one looks', () => {
  for (const count of [1, 20, 20_000]) {
    const readings = look({ count, period: 1000, from: 6000, to: 60_000 });
    // One more or less at the edge, where counting began, weighs less and less.
    for (const [now, seen] of readings) near(seen, count, now < 15_000 ? 0.08 : 0.015, `${count}, after ${now} ms`);
  }
});

test('it is so too just after the burst, and when bursts come with a batch each 400 ms', () => {
  for (const [now, seen] of look({ count: 50, period: 1000, from: 15_000, to: 40_000, every: 1000 })) near(seen, 50, 0.02, `after ${now} ms`);
  const batched = (at) => Math.ceil(at / 400) * 400;
  for (const [now, seen] of look({ count: 50, period: 1000, from: 15_000, to: 40_000, delay: batched })) near(seen, 50, 0.04, `after ${now} ms`);
});

test('what is told a few seconds after the beginning is right already', () => {
  for (const [now, seen] of look({ count: 1, period: 20, from: 2500, to: 8000 })) near(seen, 50, 0.05, `after ${now} ms`);
});

test('the mean over time is right for what comes seldom', () => {
  const readings = look({ count: 1, period: 9000, from: 54_000, to: 54_000 + 90_000 });
  near(readings.reduce((sum, [, seen]) => sum + seen, 0) / readings.length, 1 / 9, 0.03, 'on average');
});

test('what ends fades, and what came before a gap is forgotten', () => {
  const rate = new Rate();
  for (let at = 0; at < 20_000; at += 100) rate.add(1, BEGIN + at, BEGIN);
  near(rate.now(BEGIN + 20_000, BEGIN), 10, 0.02, 'while it comes');
  assert.ok(rate.now(BEGIN + 50_000, BEGIN) < 0.01);
  for (let at = 50_000; at < 60_000; at += 100) rate.add(1, BEGIN + at, BEGIN + 50_000);
  near(rate.now(BEGIN + 60_000, BEGIN + 50_000), 10, 0.03, 'after the gap');
  assert.equal(rate.now(BEGIN + 61_000, BEGIN + 61_000), 0);
});

test('a branch is as fast as all below it, however many devices speak at once', () => {
  const tree = new Tree();
  tree.begin(BEGIN);
  for (let second = 0; second < 20; second += 1) {
    for (let device = 0; device < 500; device += 1) {
      tree.apply({ topic: `plant/${device}/rpm`, payload: '1', encoding: 'text', size: 1, retain: false }, BEGIN + second * 1000);
    }
    if (second < 14) continue;
    for (const [path, wanted] of [['plant', 500], ['plant/7', 1], ['plant/7/rpm', 1]]) {
      near(tree.rate(tree.find(path), BEGIN + second * 1000 + 16), wanted, 0.02, `${path} in second ${second}`);
    }
    near(tree.rate(tree.root, BEGIN + second * 1000 + 16), 500, 0.02, 'all');
  }
});
