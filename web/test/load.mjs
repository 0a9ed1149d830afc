// How smooth the page stays under load, by hand: a broker that carries many topics and messages must run, for example
//
//   cork sim 'load/{n}/value' --devices 20000 --every 400ms --quiet
//
// Prints frames per second, the longest pause, and the heap of each page over the time (SECONDS, default 30).
import { leave, must, run, visit } from './harness.mjs';

const seconds = Number(process.env.SECONDS ?? 30);

const measure = (page) => page.evaluate((length) => new Promise((done) => {
  const from = performance.now();
  let [frames, last, longest] = [0, from, 0];
  const heap = [performance.memory.usedJSHeapSize];
  const tick = (now) => {
    frames += 1;
    longest = Math.max(longest, now - last);
    last = now;
    if (now - from < length * 1000) requestAnimationFrame(tick);
    else done({ rate: frames / ((now - from) / 1000), longest, heap: [...heap, performance.memory.usedJSHeapSize] });
  };
  setTimeout(() => heap.push(performance.memory.usedJSHeapSize), length * 500);
  requestAnimationFrame(tick);
}), seconds);

await run([['frames under load', async (browser) => {
  for (const hash of ['topics', 'overview', 'boards']) {
    const page = await visit(browser, hash);
    await page.waitForTimeout(5000);
    const { rate, longest, heap } = await measure(page);
    const status = hash === 'topics' ? `, ${(await page.locator('.foot').textContent()).replace(/\s+/g, ' ').trim()}` : '';
    console.log(`${hash}: ${rate.toFixed(0)} frames/s, longest pause ${longest.toFixed(0)} ms, heap ${heap.map((bytes) => (bytes / 1e6).toFixed(0)).join(' ')} MB${status}`);
    must(rate > 30, `${hash}: ${rate.toFixed(1)} frames/s`);
    await leave(page);
  }
}]]);
