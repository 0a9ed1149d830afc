// The boards in a real browser, against a running broker that has no boards yet: CORK_HTTP is the address of its
// dashboard (`http://127.0.0.1:8080`). Ends with 1 at the first check that fails.
//
// CORK_HTTP=http://127.0.0.1:8080 node test/boards.mjs

import assert from 'node:assert/strict';
import { api, Browser, HTTP, publish } from './boards/help.mjs';
import * as first from './boards/first.mjs';
import * as edit from './boards/edit.mjs';
import * as keep from './boards/keep.mjs';
import * as look from './boards/look.mjs';
import * as touch from './boards/touch.mjs';

const browser = new Browser();
let device = null;
let now = '';

// A little house that says something twice a second.
function house() {
  let at = 0;
  device = setInterval(() => {
    at += 1;
    const wave = (low, high, slow) => (low + ((high - low) * (1 + Math.sin(at / slow))) / 2).toFixed(1);
    const said = [['house/kitchen/temperature', wave(19, 23, 9)], ['house/bedroom/temperature', wave(17, 19, 14)], ['house/kitchen/humidity', wave(44, 52, 11)],
      ['house/hall/door', at % 40 < 30 ? 'closed' : 'open'], ['house/meter', JSON.stringify({ power: Number(wave(200, 900, 6)), total: at })]];
    Promise.all(said.map(([topic, payload]) => publish(topic, payload, true))).catch(() => {});
  }, 500);
}

// What earlier checks left to be kept by the broker would be taken for what these ones publish.
async function forget() {
  for (const filter of ['house/#', 'test/#']) await api('DELETE', `retained?filter=${encodeURIComponent(filter)}`);
}

async function main() {
  assert.notEqual(HTTP, '', 'CORK_HTTP is not set: it is the address of the dashboard of a running broker');
  const { body } = await api('GET', 'boards');
  assert.equal(body.items.length, 0, `the broker at ${HTTP} has boards (${body.items.map(({ id }) => id).join(', ')}): take one with an empty store`);
  await forget();
  await browser.start();
  house();
  for (const { checks } of [first, edit, touch, keep, look]) {
    for (const [name, run] of checks) {
      now = name;
      const begun = Date.now();
      await run(browser);
      assert.deepEqual(browser.errors, [], 'errors in the console');
      console.log(`ok ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
    }
  }
}

try {
  await main();
} catch (error) {
  console.error(`FAILED ${now}: ${error.stack ?? error}`);
  if (browser.errors.length > 0) console.error(browser.errors.join('\n'));
  process.exitCode = 1;
} finally {
  clearInterval(device);
  await browser.end();
  // Leaves the broker as it was, so that the checks can run again.
  if (now !== '') {
    for (const { id } of (await api('GET', 'boards')).body.items) await api('DELETE', `boards/${id}`);
    await forget();
  }
}
