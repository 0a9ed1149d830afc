// The broker is killed and started again, by who runs this and reads `kill` and `start` from its output: the page comes
// back by itself, its charts complete.
import { leave, must, publish, run, until, visit } from './harness.mjs';

await run([['a page outlives its broker', async (browser) => {
  const page = await visit(browser, `topics?t=${encodeURIComponent('kept/number')}`);
  await publish('kept/number', 1, { retain: true, qos: 1 });
  const payload = page.locator('[data-test=payload]');
  await payload.waitFor();
  const overview = await visit(browser, 'overview');
  await overview.locator('.plot canvas').first().waitFor();
  await page.waitForTimeout(3000);
  console.log('kill');
  await page.getByText('The broker does not answer').waitFor();
  console.log('start');
  await until('the page is back', async () => (await page.getByText('The broker does not answer').count()) === 0, 40);
  must((await payload.textContent()).trim() === '1', 'the retained value is gone');
  await until('live messages come again', async () => {
    await publish('kept/number', 2, { retain: true, qos: 1 });
    return (await payload.textContent()).trim() === '2';
  }, 30);
  await until('the overview is live again', async () => (await overview.getByText('The broker does not answer').count()) === 0, 40);
  must(await overview.locator('.plot canvas').count() >= 4, 'charts are gone');
  const refused = /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE|ERR_CONNECTION_RESET|WebSocket|50[0-9]/;
  await leave(page, refused);
  await leave(overview, refused);
}]]);
