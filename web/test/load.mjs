// How smooth pages stay while much happens, and for how long: what dev/dashboard-load runs against a broker under load.
//
//   SECONDS   how long (default 30)
//   PAGES     which pages are open, all at once (default: topics overview boards)
//   LEAST     frames per second below which it fails (default 30; a machine that does other things may not reach it)
//
// While they are open, somebody uses them: scrolls, types into the search, chooses a topic by mouse and by keyboard, another
// time span. Prints for each page once a minute (a shorter run: ten times): frames per second and the longest pause between two;
// processor time of the page's own thread; tasks of more than 50 ms; how long from an input to the frame after it (median and
// longest); what is alive on the heap after its garbage was collected; nodes in the document; listeners. Then the memory of
// Chromium's processes that draw pages: of answers to requests it keeps up to 200 MB for the tool that drives it, which no
// person's browser does. Fails below LEAST, and if heap or nodes still grow in the second half.
import { readFileSync } from 'node:fs';
import { leave, must, run, visit } from './harness.mjs';

const SECONDS = Number(process.env.SECONDS ?? 30);
const PAGES = (process.env.PAGES ?? 'topics overview boards').split(' ');
const LEAST = Number(process.env.LEAST ?? 30);
const PERIOD = Math.min(60, SECONDS / 10);
const ACT_EVERY = 700;
// What may differ at the same load: of its own size, and beside it.
const GROWTH = { part: 1.1, heap: 2, nodes: 300 };

// Runs in the page: counts what a person would feel.
function feel() {
  const zero = () => ({ from: performance.now(), frames: 0, longest: 0, tasks: [], inputs: [] });
  let felt = zero();
  let last = performance.now();
  const tick = (now) => {
    felt.frames += 1;
    felt.longest = Math.max(felt.longest, now - last);
    last = now;
    requestAnimationFrame(tick);
  };
  requestAnimationFrame(tick);
  new PerformanceObserver((list) => felt.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
  // Drawn is what was there at the end of the next frame.
  const input = ({ timeStamp }) => requestAnimationFrame(() => setTimeout(() => felt.inputs.push(performance.now() - timeStamp)));
  for (const kind of ['keydown', 'pointerdown', 'wheel']) addEventListener(kind, input, { capture: true, passive: true });
  window.felt = () => {
    const told = { ...felt, seconds: (performance.now() - felt.from) / 1000 };
    felt = zero();
    last = performance.now();
    return told;
  };
}

const search = (page) => page.getByLabel('Search topics');
const tree = (page) => page.getByRole('tree');
const type = async (page, letters) => {
  await search(page).focus();
  await page.keyboard.type(letters, { delay: 30 });
};
const wheel = (by) => async (page) => {
  await page.mouse.move(500, 400);
  await page.mouse.wheel(0, by);
};

/** What somebody does, one after the other. */
const ACTIONS = {
  topics: [
    wheel(900), wheel(2400), wheel(-600), (page) => page.locator('.line').nth(3).click({ timeout: 5000 }),
    async (page) => { await tree(page).focus(); await page.keyboard.press('ArrowDown'); }, (page) => page.keyboard.press('PageDown'),
    (page) => type(page, '17'), wheel(900), (page) => type(page, '/'), async (page) => { await search(page).focus(); for (let at = 0; at < 3; at += 1) await page.keyboard.press('Backspace'); },
    wheel(-9000),
  ],
  overview: [wheel(500), (page) => page.getByRole('button', { name: '2 min' }).click(), wheel(-500), (page) => page.getByRole('button', { name: '10 min' }).click()],
  boards: [wheel(300), wheel(-300)],
};

const median = (list) => [...list].sort((one, other) => one - other)[Math.floor(list.length / 2)] ?? 0;
const most = (list) => Math.max(0, ...list);
const sum = (list) => list.reduce((all, one) => all + one, 0);

/** Seconds of processor time that the page's own thread has used: the same beside other work. */
async function used(session) {
  const { metrics } = await session.send('Performance.getMetrics');
  return metrics.find(({ name }) => name === 'TaskDuration').value;
}

/** Megabytes that are alive, nodes, listeners. */
async function counts(session) {
  await session.send('HeapProfiler.collectGarbage');
  const { usedSize } = await session.send('Runtime.getHeapUsage');
  const { nodes, jsEventListeners } = await session.send('Memory.getDOMCounters');
  return { heap: usedSize / 1e6, nodes, listeners: jsEventListeners };
}

/** Megabytes of each of Chromium's processes that draw pages, largest first. */
async function renderers(browser) {
  const session = await browser.newBrowserCDPSession();
  const { processInfo } = await session.send('SystemInfo.getProcessInfo');
  await session.detach();
  const resident = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0) / 1000;
  return processInfo.filter(({ type }) => type === 'renderer').map(({ id }) => resident(id)).sort((one, other) => other - one);
}

async function look(one, passed) {
  const felt = await one.page.evaluate(() => window.felt());
  const busy = await used(one.session) - one.used;
  const alive = await counts(one.session);
  await one.page.evaluate(() => window.felt());
  one.used = await used(one.session);
  one.alive.push(alive);
  const rate = felt.frames / felt.seconds;
  const status = one.hash === 'topics' ? `; ${(await one.page.locator('main .foot').textContent()).replace(/\s+/g, ' ').trim()}` : '';
  console.log(`${passed.toFixed(0)} s, ${one.hash}: ${rate.toFixed(0)} frames/s, longest pause ${felt.longest.toFixed(0)} ms; ${((busy / felt.seconds) * 100).toFixed(0)} % of a core; `
    + `${felt.tasks.length} long tasks, ${sum(felt.tasks).toFixed(0)} ms, longest ${most(felt.tasks).toFixed(0)}; `
    + `${felt.inputs.length} inputs, ${median(felt.inputs).toFixed(0)} ms, longest ${most(felt.inputs).toFixed(0)}; `
    + `heap ${alive.heap.toFixed(1)} MB, ${alive.nodes} nodes, ${alive.listeners} listeners${status}`);
  must(rate >= LEAST, `${one.hash}: ${rate.toFixed(1)} frames/s`);
}

function grows(one) {
  const [half, end] = [one.alive[Math.floor((one.alive.length - 1) / 2)], one.alive.at(-1)];
  for (const what of ['heap', 'nodes']) {
    const limit = half[what] * GROWTH.part + GROWTH[what];
    must(end[what] <= limit, `${one.hash}: ${what} grew from ${half[what].toFixed(1)} to ${end[what].toFixed(1)} in the second half`);
  }
}

async function use(one, until) {
  for (let turn = 0; Date.now() < until; turn += 1) {
    const actions = ACTIONS[one.hash] ?? ACTIONS.boards;
    // What scrolled away, or is not there on this page, is left alone.
    await actions[turn % actions.length](one.page).catch(() => {});
    await one.page.waitForTimeout(ACT_EVERY);
  }
}

async function together(browser) {
  const open = [];
  for (const hash of PAGES) {
    const page = await visit(browser, hash);
    const session = await page.context().newCDPSession(page);
    await session.send('Performance.enable', { timeDomain: 'threadTicks' });
    open.push({ hash, page, session, alive: [], used: 0 });
  }
  await open.at(-1).page.waitForTimeout(5000);
  for (const one of open) {
    await one.page.evaluate(feel);
    one.used = await used(one.session);
  }
  const from = Date.now();
  const users = open.map((one) => use(one, from + SECONDS * 1000));
  for (let turn = 1; turn * PERIOD <= SECONDS + 0.01; turn += 1) {
    await new Promise((done) => setTimeout(done, Math.max(0, from + turn * PERIOD * 1000 - Date.now())));
    for (const one of open) await look(one, turn * PERIOD);
    console.log(`${(turn * PERIOD).toFixed(0)} s, renderers: ${(await renderers(browser)).map((size) => `${size.toFixed(0)} MB`).join(', ')} resident`);
  }
  await Promise.all(users);
  open.forEach(grows);
  for (const { page } of open) await leave(page);
}

await run([[`${PAGES.join(', ')} under load`, together]]);
