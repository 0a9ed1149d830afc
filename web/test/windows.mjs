// Many windows of one browser, and windows nobody looks at. A broker without users.
import { leave, must, publish, run, until, visit } from './harness.mjs';

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
]);
