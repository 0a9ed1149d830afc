// Many windows of one browser, and windows nobody looks at. A broker without users.
import { api, leave, must, publish, run, until, visit } from './harness.mjs';

// A browser opens six connections for requests to one server, however many windows there are.
const WINDOWS = ['overview', 'log', 'log', 'clients/trace?topic=windows%2F%23', 'topics?t=windows%2Fa', 'boards', 'overview', 'log'];

/** One more window of the same browser. */
async function another(page, hash) {
  const next = await page.context().newPage();
  next.setDefaultTimeout(15_000);
  next.on('pageerror', (error) => page.faults.push(error.stack));
  return visit(null, hash, { page: next });
}

/** What the page is told of whether somebody sees it. */
const turn = (page, hidden) => page.evaluate((value) => {
  Object.defineProperty(document, 'hidden', { configurable: true, get: () => value });
  document.dispatchEvent(new Event('visibilitychange'));
}, hidden);

/** The streams of a page that are open, by the last part of their path. */
function streams(page) {
  const open = new Set();
  page.on('websocket', (socket) => { open.add(socket); socket.on('close', () => open.delete(socket)); });
  return () => [...open].map((socket) => new URL(socket.url()).pathname.replace(/^.*\/v1\//, '')).sort().join();
}

await run([
  ['eight windows live beside each other', async (browser) => {
    const page = await visit(browser, WINDOWS[0]);
    const pages = [page];
    for (const hash of WINDOWS.slice(1)) pages.push(await another(page, hash));
    for (const [at, one] of pages.entries()) {
      const status = await one.evaluate(() => Promise.race([
        fetch('api/v1/session').then((answer) => answer.status),
        new Promise((done) => { setTimeout(done, 5000, 'nothing for 5 s'); }),
      ]));
      must(status === 200, `window ${at + 1} (${WINDOWS[at]}): a request answers ${status}`);
    }
    await publish('windows/a', '42', { qos: 1 });
    await pages[3].getByRole('row').filter({ hasText: 'windows/a' }).first().waitFor();
    await pages[4].locator('[data-test=payload]', { hasText: '42' }).waitFor();
    await page.evaluate(async () => fetch('api/v1/log/level', { method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: '{"level":"info"}' }));
    for (const at of [1, 2, 7]) await pages[at].getByText('log level').first().waitFor();
    await leave(page);
  }],

  ['a window nobody sees has no stream, and misses nothing of the log', async (browser) => {
    const page = await visit(browser, 'overview');
    const open = streams(page);
    await page.reload();
    await visit(browser, 'log', { page });
    await until('both streams', () => open() === 'log/stream,overview/stream');
    await page.getByRole('row').nth(1).waitFor();
    await turn(page, true);
    await until('none of them', () => open() === '');
    const level = (name) => page.evaluate(async (subsystem) => (await fetch('api/v1/log/level', {
      method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ level: 'info', subsystem }),
    })).status, name);
    must(await level('net') === 204 && await level('store') === 204, 'no line for the log');
    await turn(page, false);
    await until('both again', () => open() === 'log/stream,overview/stream');
    for (const subsystem of ['net', 'store']) {
      const row = page.getByRole('row').filter({ hasText: `detail=${subsystem}: info` });
      await row.waitFor();
      must(await row.count() === 1, `the line of ${subsystem} is there ${await row.count()} times`);
    }
    await leave(page);
  }],

  ['rows in sight are served first, however many topics wait', async (browser) => {
    const page = await visit(browser, 'topics?q=busy%2F');
    // Each of 10,000 topics with each round, whose number is its value. The page is sent 1,000 in 0.4 s.
    const began = [];
    let on = true;
    const busy = (async () => {
      while (on) {
        const round = began.push(Date.now()) - 1;
        for (let part = 0; part < 10; part += 1) {
          const all = Array.from({ length: 1000 }, (_, at) => ({ topic: `busy/${part * 1000 + at}`, payload: String(round) }));
          await api('POST', 'publish', all);
        }
      }
    })();
    try {
      const waiting = page.locator('[data-test=sampling]', { hasText: 'out of sight wait' });
      await waiting.waitFor({ timeout: 30_000 });
      await page.waitForTimeout(2000);
      const values = () => page.locator('[data-topic^="busy/"] .value').evaluateAll((all) => all.slice(0, 20).map((one) => Number(one.textContent)));
      for (const row of [0, 3000]) {
        await page.getByRole('tree').evaluate((tree, top) => { tree.scrollTop = top; }, row * 30);
        await page.waitForTimeout(2000);
        await waiting.waitFor();
        // Since when there has been something newer than what is shown, in seconds.
        const ages = [];
        for (let look = 0; look < 8; look += 1) {
          const now = Date.now();
          ages.push(...(await values()).map((value) => Math.max(0, now - (began[value + 1] ?? now)) / 1000));
          await page.waitForTimeout(200);
        }
        const median = ages.sort((one, other) => one - other)[ages.length >> 1];
        must(ages.length >= 100 && median < 1.2, `${ages.length} values from row ${row} on are ${median} s old, half of them or more`);
        console.log(`     rows from ${row} on: ${median.toFixed(1)} s behind`);
      }
    } finally {
      on = false;
      await busy;
    }
    await leave(page);
  }],
]);
