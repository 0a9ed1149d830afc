// The gauge of docs/walkthrough.md: node web/test/walk.mjs http://127.0.0.1:8080
// It moves; the brokers are killed and started again by who runs this; it moves again, and the chart has the time between.
// Says `moves`, `away`, `moves again`.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';
import { must, until } from './harness.mjs';

const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
try {
  const page = await browser.newPage();
  await page.goto(`${process.argv[2]}/#/boards`);
  const tile = page.locator('.tile', { hasText: /temperature/i }).filter({ has: page.getByRole('meter') }).first();
  await tile.waitFor({ timeout: 60_000 });
  const value = () => tile.getByRole('meter').getAttribute('aria-valuenow');
  const moves = async (what) => {
    const before = await value();
    await until(what, async () => { const now = await value(); return now !== null && now !== before; }, 30);
  };
  await moves('a gauge that moves');
  const range = await tile.getByRole('meter').evaluate((meter) => [meter.ariaValueMin, meter.ariaValueMax].map(Number));
  must(range[0] <= 18 && range[1] >= 26, `a temperature of 18 to 26 on a gauge of ${range}`);
  console.log('moves');
  const away = page.getByText('The broker does not answer');
  await away.waitFor({ timeout: 30_000 });
  console.log('away');
  await away.waitFor({ state: 'detached', timeout: 60_000 });
  await moves('the gauge after the kill');
  must(await page.locator('.tile.show-chart canvas').count() > 0, 'no chart');
  console.log('moves again');
} finally {
  await browser.close();
}
