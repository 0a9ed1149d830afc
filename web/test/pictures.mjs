// The pictures of the documents, of a broker that dev/pictures has set up: light, then dark, of the same moment.
//
//   CORK_HTTP   address of the dashboard
//   SHOTS       folder for the pictures
//   ADMIN, PASSWORD   who looks
//
// Says `speak` when the device that is to be traced should speak.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { must } from './harness.mjs';
import { looks } from './looks.mjs';

const { CORK_HTTP: base, SHOTS: folder, ADMIN, PASSWORD } = process.env;
const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
const DESK = { width: 1440, height: 900 };
const PHONE = { width: 390, height: 844 };

async function visit(hash, viewport = DESK) {
  const context = await browser.newContext({ viewport, deviceScaleFactor: 2, colorScheme: 'light', reducedMotion: 'reduce' });
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  page.faults = [];
  page.still = false;
  page.on('pageerror', (error) => page.faults.push(error.stack));
  // So that time can be stopped between two pictures: what comes later is not let through, timers do not fire.
  await page.clock.install();
  await page.routeWebSocket(/\/api\//, (socket) => {
    const server = socket.connectToServer();
    server.onMessage((message) => { if (!page.still) socket.send(message); });
  });
  await page.route('**/api/**', (route) => (page.still ? undefined : route.continue()));
  await page.goto(`${base}/#/${hash}`);
  await page.getByLabel('User').fill(ADMIN);
  await page.getByLabel('Password').fill(PASSWORD);
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.locator('main').waitFor();
  return page;
}

/** `calm`, in the page: whether what was asked for after the last message is there. */
async function shoot(page, name, dark = true, calm = () => true) {
  // Nobody points at anything, nothing has the focus.
  await page.mouse.move(0, 0);
  await page.evaluate(() => document.activeElement?.blur());
  await page.waitForTimeout(300);
  await looks(page, name);
  while (!await page.evaluate(calm)) await page.waitForTimeout(20);
  page.still = true;
  await page.clock.pauseAt(new Date(await page.evaluate(() => Date.now()) + 100));
  await page.screenshot({ path: join(folder, `${name}.png`) });
  if (dark) {
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.waitForTimeout(200);
    await page.screenshot({ path: join(folder, `${name}-dark.png`) });
  }
  must(page.faults.length === 0, page.faults.join('\n'));
  await page.context().close();
}

async function overview() {
  const page = await visit('overview');
  await page.getByRole('button', { name: '2 min' }).click();
  await page.waitForTimeout(4000);
  await shoot(page, 'overview');
}

async function topics() {
  const page = await visit(`topics?t=${encodeURIComponent('house/meter')}`);
  await page.locator('.fields canvas').first().waitFor();
  // The small lines need some values.
  await page.waitForTimeout(22_000);
  await shoot(page, 'topics', true, () => {
    const text = (selector) => document.querySelector(selector).textContent;
    const [came, kept] = [/\d+:\d+:\d+/.exec(text('.about'))[0], /\d+:\d+:\d+/.exec(text('.kept'))[0]];
    return came === kept && text('.line.selected').includes(/"power": (\d+)/.exec(text('[data-test=payload]'))[1]);
  });
}

async function boards() {
  const page = await visit('boards/house');
  await page.locator('.tile.show-chart canvas').first().waitFor();
  await page.waitForTimeout(6000);
  await shoot(page, 'board');
  const phone = await visit('boards/house', PHONE);
  await phone.locator('.tile.show-chart canvas').first().waitFor();
  await phone.waitForTimeout(4000);
  await shoot(phone, 'board-phone', false);
}

async function clients() {
  const page = await visit('clients');
  await page.waitForTimeout(8000);
  await shoot(page, 'clients', false);
}

async function trace() {
  const page = await visit('clients/trace?client=press-04');
  await page.getByText('Waiting for packets').waitFor();
  // It is asked for before it is there.
  await page.waitForTimeout(1500);
  console.log('speak');
  await page.locator('td .badge', { hasText: 'PINGRESP' }).waitFor();
  await page.locator('td .badge', { hasText: 'PUBACK' }).nth(2).waitFor();
  await page.getByRole('button', { name: 'plant/press/4', exact: true }).first().click();
  await page.getByLabel('Packet', { exact: true }).waitFor();
  await page.waitForTimeout(500);
  await shoot(page, 'trace');
}

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage', '--font-render-hinting=none'] });
let failed = false;
try {
  for (const take of [overview, topics, boards, clients, trace]) {
    console.log(take.name);
    await take();
  }
} catch (error) {
  failed = true;
  console.log(error.stack);
} finally {
  await browser.close();
}
process.exit(failed ? 1 : 0);
