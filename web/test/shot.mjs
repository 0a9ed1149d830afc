// Development: node test/shot.mjs URL FILE [dark|light] [phone] [script]. Takes one screenshot.
import { chromium } from 'playwright-core';
const [url, file, scheme = 'light', size = 'desk', script = '', wait = '3000'] = process.argv.slice(2);
const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
const page = await browser.newPage({
  viewport: size === 'phone' ? { width: 390, height: 844 } : { width: 1440, height: 900 }, colorScheme: scheme, deviceScaleFactor: 1,
});
page.on('console', (line) => { if (['error', 'warning'].includes(line.type())) console.log(line.type(), line.text()); });
page.on('pageerror', (error) => console.log('pageerror', error.stack));
await page.goto(url);
await page.waitForTimeout(1500);
if (script) { await new (Object.getPrototypeOf(async function () {}).constructor)('page', script)(page); }
await page.waitForTimeout(Number(wait));
await page.screenshot({ path: file });
await browser.close();
