// How smooth the page stays under load, by hand: a broker that carries many topics and messages must run, for example
//
//   cork sim 'load/{n}/value' --devices 20000 --every 400ms --connections 20 --quiet
//
//   SECONDS   how long each page is looked at (default 30; an hour: SECONDS=3600)
//   PAGES     which (default: topics overview boards)
//
// Prints, about once a minute, frames per second, the longest pause between two frames, and what is alive on the page's
// heap after its garbage was collected. Fails below 30 frames/s, and if the heap still grows in the second half.
import { leave, must, run, visit } from './harness.mjs';

const SECONDS = Number(process.env.SECONDS ?? 30);
const PAGES = (process.env.PAGES ?? 'topics overview boards').split(' ');
const PERIOD = Math.min(60, SECONDS / 4);
// What a heap may differ by at the same load, of its own size.
const GROWTH = 1.1;

/** Frames a second and the longest pause, for so many seconds. */
const frames = (page, seconds) => page.evaluate((length) => new Promise((done) => {
  const from = performance.now();
  let [count, last, longest] = [0, from, 0];
  const tick = (now) => {
    count += 1;
    longest = Math.max(longest, now - last);
    last = now;
    if (now - from < length * 1000) requestAnimationFrame(tick);
    else done({ rate: count / ((now - from) / 1000), longest });
  };
  requestAnimationFrame(tick);
}), seconds);

/** Megabytes that are alive. */
async function heap(session) {
  await session.send('HeapProfiler.collectGarbage');
  return (await session.send('Runtime.getHeapUsage')).usedSize / 1e6;
}

async function look(browser, hash) {
  const page = await visit(browser, hash);
  const session = await page.context().newCDPSession(page);
  await page.waitForTimeout(5000);
  const heaps = [];
  for (let passed = 0; passed < SECONDS; passed += PERIOD) {
    const { rate, longest } = await frames(page, PERIOD);
    heaps.push(await heap(session));
    const status = hash === 'topics' ? `, ${(await page.locator('main .foot').textContent()).replace(/\s+/g, ' ').trim()}` : '';
    console.log(`${hash}, ${(passed + PERIOD).toFixed(0)} s: ${rate.toFixed(0)} frames/s, longest pause ${longest.toFixed(0)} ms, heap ${heaps.at(-1).toFixed(1)} MB${status}`);
    must(rate > 30, `${hash}: ${rate.toFixed(1)} frames/s`);
  }
  const half = heaps[Math.floor((heaps.length - 1) / 2)];
  must(heaps.at(-1) < half * GROWTH, `${hash}: the heap grew from ${half.toFixed(1)} to ${heaps.at(-1).toFixed(1)} MB in the second half`);
  await leave(page);
}

await run(PAGES.map((hash) => [`${hash} under load`, (browser) => look(browser, hash)]));
