// Who sees what, and how it looks: read-only links, viewers, refusals, a phone, light and dark.

import assert from 'node:assert/strict';
import { api, axeFaults, layoutFaults, shot, sleep, tile, until } from './help.mjs';

async function readOnly(browser) {
  const page = await browser.open('#/boards/workbench?view=only');
  await tile(page, 'Door bell').waitFor();
  await until('values are shown', async () => /\d/.test(await tile(page, 'Kitchen humidity').textContent()));
  const buttons = await page.getByRole('button').evaluateAll((all) => all.filter((one) => !one.disabled).map((one) => one.textContent || one.ariaLabel));
  assert.deepEqual(buttons, [], 'nothing can be pressed');
  assert.equal(await page.locator('aside, nav, .grip, .corner').count(), 0);
  assert.ok(await page.getByRole('switch').isDisabled() && await page.getByRole('slider').isDisabled());
  await page.goto(page.url().replace('view=only', 'view=only&add=test%2Fdial'));
  await sleep(500);
  assert.equal(await page.getByRole('dialog').count(), 0);
  assert.deepEqual(await axeFaults(page), []);
  await page.goto(page.url().replace(/#.*/, '#/boards/workbench?view=only&controls=1'));
  await until('controls work where the link says so', () => page.getByRole('switch').isEnabled());
  await page.context().close();
}

// What a viewer is to the page: the broker's answers to one.
async function viewer(browser) {
  const page = await browser.open('#/boards/workbench', {
    before: async (fresh) => {
      await fresh.route('**/api/v1/session', (route) => route.fulfill({ json: { user: 'vi', role: 'viewer', open: false, csrf: 'x', expires: null } }));
      await fresh.route('**/api/v1/publish', (route) => route.fulfill({
        status: 403, contentType: 'application/problem+json', body: JSON.stringify({ status: 403, code: 'denied', detail: 'acl.toml:7 does not let vi write test/lamp' }),
      }));
    },
  });
  page.expected = /403|Forbidden/;
  await tile(page, 'Door bell').waitFor();
  assert.equal(await page.getByRole('button', { name: /^(Edit|New board|Add)$/ }).count(), 0);
  await page.getByRole('button', { name: 'More for this board' }).click();
  assert.deepEqual(await page.getByRole('menuitem').allInnerTexts(), ['Share a link …', 'Export as a file']);
  await page.keyboard.press('Escape');
  await page.getByRole('switch', { name: 'Test lamp' }).click();
  await page.locator('.toast.bad').getByText('acl.toml:7 does not let vi write test/lamp').waitFor();
  await until('the switch goes back', async () => (await page.getByRole('switch', { name: 'Test lamp' }).getAttribute('aria-checked')) === 'false');
  await page.goto(page.url().replace(/#.*/, '#/boards?add=test%2Fdial'));
  await page.locator('.toast.bad').getByText('Only an admin may change boards.').waitFor();
  await page.context().close();
}

async function themes(browser) {
  for (const [scheme, name] of [['light', 'board.png'], ['dark', 'board-dark.png']]) {
    const page = await browser.open('#/boards/first-values', { scheme, height: 1000 });
    await until('gauges show values', async () => (await page.getByRole('meter').count()) > 2 && !(await page.getByRole('meter').allTextContents()).some((text) => text.startsWith('–')));
    await sleep(2500);
    assert.deepEqual(await layoutFaults(page), [], scheme);
    assert.deepEqual(await axeFaults(page), [], scheme);
    await shot(page, name);
    await page.getByRole('button', { name: 'Edit', exact: true }).click();
    await page.locator('aside li.leaf').first().waitFor();
    assert.deepEqual(await axeFaults(page), [], `${scheme}, edited`);
    assert.deepEqual(await layoutFaults(page), [], `${scheme}, edited`);
    await page.context().close();
  }
}

async function widths(browser) {
  for (const width of [1920, 1280, 1024, 820, 720, 600, 480, 390, 360]) {
    const page = await browser.open('#/boards/workbench', { width });
    await tile(page, 'Door bell').waitFor();
    await sleep(300);
    assert.deepEqual(await layoutFaults(page), [], `${width} px`);
    await page.context().close();
  }
}

async function phone(browser) {
  const page = await browser.open('#/boards/first-values', { width: 390, height: 844, touch: true });
  await until('gauges', async () => (await page.getByRole('meter').count()) > 1);
  await sleep(1500);
  assert.deepEqual(await layoutFaults(page), []);
  assert.deepEqual(await axeFaults(page), []);
  await shot(page, 'board-phone.png');
  await page.getByRole('button', { name: 'Edit', exact: true }).tap();
  await page.getByRole('button', { name: 'Add', exact: true }).tap();
  const dialog = page.getByRole('dialog', { name: 'Add tiles' });
  await dialog.getByRole('searchbox').fill('house/hall/door');
  await dialog.getByRole('button', { name: 'Add house/hall/door' }).tap();
  assert.deepEqual(await layoutFaults(page), []);
  await dialog.getByRole('button', { name: /^Done/ }).tap();
  const settings = page.getByRole('button', { name: /^Settings of/ }).last();
  await settings.tap();
  assert.deepEqual(await layoutFaults(page), []);
  assert.deepEqual(await axeFaults(page), []);
  await page.getByRole('dialog').getByRole('button', { name: 'Cancel' }).tap();
  const small = await page.getByRole('button').evaluateAll((all) => all.map((one) => [one.ariaLabel || one.textContent, one.getBoundingClientRect()])
    .filter(([, box]) => box.width > 0 && (box.height < 24 || box.width < 20)).map(([name, box]) => `${name} ${box.width}x${box.height}`));
  assert.deepEqual(small, [], 'everything is large enough for a finger');
  await until('it is saved', async () => (await api('GET', 'boards/first-values')).body.content.tiles.filter(({ topic }) => topic === 'house/hall/door').length > 1);
  await page.context().close();
}

export const checks = [
  ['a read-only link', readOnly], ['a viewer cannot edit, and is told why not', viewer], ['light and dark', themes], ['every width', widths], ['a phone', phone],
];
