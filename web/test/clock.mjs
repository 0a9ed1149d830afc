// The first gauge that moves on the board that makes itself: node web/test/clock.mjs http://127.0.0.1:8080
// Prints `moves: …` and ends. dev/clock waits for that line.
import { existsSync } from 'node:fs';
import { chromium } from 'playwright-core';

const executablePath = process.env.CHROMIUM ?? ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find(existsSync);
const browser = await chromium.launch({ executablePath, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
try {
  const page = await browser.newPage();
  await page.goto(process.argv[2]);
  // As a newcomer finds it: the page that opens, then the word in its menu.
  await page.getByRole('navigation').getByRole('link', { name: 'Boards' }).click();
  await page.getByRole('meter').first().waitFor({ timeout: 60_000 });
  const values = () => page.getByRole('meter').evaluateAll((meters) => meters.map((meter) => meter.getAttribute('aria-valuetext')));
  const before = await values();
  for (let tries = 0; tries < 600; tries += 1) {
    const now = await values();
    const moved = before.findIndex((value, at) => now[at] !== undefined && now[at] !== value);
    if (moved >= 0) {
      console.log(`moves: ${before[moved]} to ${now[moved]}`);
      break;
    }
    await page.waitForTimeout(100);
  }
} finally {
  await browser.close();
}
