// What the browser tests share: a browser, pages that tell of their errors, and axe. No test framework: a check that
// fails says what and ends the process with 1.
//
//   CORK_HTTP   address of the dashboard, http://127.0.0.1:8080
//   CHROMIUM    the browser (default: Debian's)
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const base = process.env.CORK_HTTP ?? 'http://127.0.0.1:8080';
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };
const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);

/** Runs `tests` (`[name, async (browser) => {}]`) one after the other in one browser, and ends the process. */
export async function run(tests) {
  const only = process.argv[2];
  const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
  let failed = 0;
  for (const [name, test] of tests) {
    if (only && !name.includes(only)) continue;
    const from = Date.now();
    try {
      await test(browser);
      console.log(`ok   ${name} (${((Date.now() - from) / 1000).toFixed(1)} s)`);
    } catch (error) {
      failed += 1;
      console.log(`FAIL ${name}\n${error.stack}`);
    }
  }
  await browser.close();
  console.log(`${failed} of ${tests.length} failed`);
  process.exit(failed === 0 ? 0 : 1);
}

/**
 * Opens a page of the dashboard in a context of its own. `user` and `password` log in first. The page's `faults` are what
 * its scripts and the console said that nobody expected.
 */
export async function visit(browser, hash, { dark = false, phone = false, user, password, page: use } = {}) {
  let page = use;
  if (page === undefined) {
    const context = await browser.newContext({
      viewport: phone ? PHONE : DESK, colorScheme: dark ? 'dark' : 'light', acceptDownloads: true, reducedMotion: 'reduce',
    });
    page = await context.newPage();
    page.setDefaultTimeout(15_000);
    page.faults = [];
    page.on('pageerror', (error) => page.faults.push(error.stack));
    page.on('console', (line) => { if (line.type() === 'error') page.faults.push(line.text()); });
  }
  await page.goto(`${base}/#/${hash}`);
  if (user) {
    await page.getByLabel('User').fill(user);
    await page.getByLabel('Password').fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
  }
  await page.locator('main').waitFor();
  return page;
}

/** Ends a page; what it complained about, but for `expected`, is a failure. */
export async function leave(page, expected = /^$/) {
  const faults = page.faults.filter((fault) => !expected.test(fault));
  await page.context().close();
  must(faults.length === 0, `the page complains: ${faults.join('\n')}`);
}

/** No serious finding of axe, nothing that sticks out sideways. */
export async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
  const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
  must(serious.length === 0, `${what}: ${JSON.stringify(serious.map(({ id, nodes }) => [id, nodes.slice(0, 3).map(({ html, failureSummary }) => `${html} ${failureSummary}`)]), null, 1)}`);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  must(wide <= 0, `${what} is ${wide} pixels wider than the window`);
}

export function must(holds, what) {
  if (!holds) throw new Error(what);
}

/** Waits until `look` gives something true, and gives it back. */
export async function until(what, look, seconds = 15) {
  const end = Date.now() + seconds * 1000;
  let last;
  while (Date.now() < end) {
    last = await look();
    if (last) return last;
    await new Promise((done) => setTimeout(done, 100));
  }
  throw new Error(`${what}: not within ${seconds} s (last: ${JSON.stringify(last)})`);
}

/** A request of the API as a script makes it, without a login. */
export async function api(method, path, body) {
  const answer = await fetch(`${base}/api/v1/${path}`, {
    method, headers: body === undefined ? {} : { 'Content-Type': 'application/json' }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await answer.text();
  must(answer.ok, `${method} ${path}: ${answer.status} ${text}`);
  return text === '' ? null : JSON.parse(text);
}

export const publish = (topic, payload, more = {}) => api('POST', 'publish', { topic, payload: String(payload), ...more });
