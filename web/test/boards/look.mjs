// Who sees what, and how it looks: read-only links, viewers, refusals, a phone, light and dark.

import assert from 'node:assert/strict';
import { api, axeFaults, layoutFaults, publish, sleep, tile, until } from './help.mjs';

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

// A board with every kind of tile, as one would make it for a house.
async function house() {
  const line = (room, colour) => ({ topic: `house/${room}/temperature`, field: '', label: room[0].toUpperCase() + room.slice(1), colour });
  const warm = [{ from: 15, colour: 'series-6' }, { from: 18, colour: 'good' }, { from: 22, colour: 'warn' }, { from: 26, colour: 'bad' }];
  const tiles = [
    { kind: 'gauge', title: 'Kitchen', topic: 'house/kitchen/temperature', unit: '°C', decimals: 1, min: 10, max: 30, colour: 'series-6', thresholds: warm, x: 0, y: 0, w: 3, h: 4 },
    { kind: 'gauge', title: 'Bedroom', topic: 'house/bedroom/temperature', unit: '°C', decimals: 1, min: 10, max: 30, colour: 'series-6', thresholds: warm, x: 3, y: 0, w: 3, h: 4 },
    { kind: 'gauge', title: 'Humidity', topic: 'house/kitchen/humidity', unit: '%', min: 0, max: 100, colour: 'series-2', x: 6, y: 0, w: 3, h: 4 },
    { kind: 'value', title: 'Power', topic: 'house/meter', field: 'power', unit: 'W', decimals: 0, colour: 'series-3', x: 9, y: 0, w: 3, h: 2 },
    { kind: 'lamp', title: 'Front door', topic: 'house/hall/door', on: 'open', off: 'closed', colour: 'warn', colour_off: 'good', x: 9, y: 2, w: 3, h: 2 },
    { kind: 'chart', title: 'Temperature', series: [line('kitchen', 'series-1'), line('bedroom', 'series-2')], unit: '°C', decimals: 1, seconds: 60, x: 0, y: 4, w: 6, h: 5 },
    { kind: 'chart', title: 'Power', series: [{ topic: 'house/meter', field: 'power', label: 'House', colour: 'series-3' }], unit: 'W', decimals: 0, low: 0, seconds: 60, x: 6, y: 4, w: 6, h: 5 },
    { kind: 'switch', title: 'Porch light', topic: 'house/porch/light', target: 'house/porch/light/set', x: 0, y: 9, w: 3, h: 2 },
    { kind: 'slider', title: 'Blinds', topic: 'house/blinds', target: 'house/blinds/set', unit: '%', colour: 'series-2', x: 3, y: 9, w: 4, h: 2 },
    { kind: 'button', title: 'Garage', target: 'house/garage/set', payload: 'toggle', label: 'Open or close', confirm: true, x: 7, y: 9, w: 3, h: 2 },
    { kind: 'value', title: 'Washing', topic: 'house/washer', x: 10, y: 9, w: 2, h: 2 },
  ];
  await Promise.all([publish('house/porch/light', 'on', true), publish('house/blinds', 65, true), publish('house/washer', 'spinning', true)]);
  assert.equal((await api('PUT', 'boards/house', { name: 'House', content: { version: 1, tiles }, revision: 0 })).status, 201);
}

async function themes(browser) {
  await house();
  for (const scheme of ['light', 'dark']) {
    const page = await browser.open('#/boards/house', { scheme });
    await until('all values are there', async () => (await page.locator('[data-tile]').count()) === 11 && !(await page.locator('[data-tile]').allInnerTexts()).some((text) => text.includes('–')));
    await sleep(1000);
    assert.equal(await page.locator('details.notice, .tile.stale').count(), 0, 'nothing is wrong or stale');
    assert.deepEqual(await layoutFaults(page), [], scheme);
    assert.deepEqual(await axeFaults(page), [], scheme);
    await page.goto(page.url().replace(/#.*/, '#/boards/first-values'));
    await page.getByRole('button', { name: 'Edit', exact: true }).click();
    await page.locator('aside li.leaf').first().waitFor();
    assert.deepEqual(await axeFaults(page), [], `${scheme}, edited`);
    assert.deepEqual(await layoutFaults(page), [], `${scheme}, edited`);
    await page.context().close();
  }
}

// A button that asks first publishes only after the answer.
async function asks(browser) {
  const page = await browser.open('#/boards/house');
  const heard = [];
  page.on('request', (request) => { if (request.url().endsWith('/publish')) heard.push(request.postDataJSON()); });
  await page.getByRole('button', { name: 'Open or close' }).click();
  const dialog = page.getByRole('dialog', { name: 'Garage' });
  await dialog.getByText('Publish “toggle” to house/garage/set?').waitFor();
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  assert.deepEqual(heard, []);
  await page.getByRole('button', { name: 'Open or close' }).click();
  await dialog.getByRole('button', { name: 'Open or close' }).click();
  await until('it publishes', () => heard.length === 1);
  assert.deepEqual([heard[0].topic, heard[0].payload], ['house/garage/set', 'toggle']);
  await page.context().close();
}

async function widths(browser) {
  const page = await browser.open('#/boards/workbench');
  for (const [board, title] of [['workbench', 'Door bell'], ['house', 'Garage']]) {
    await page.goto(page.url().replace(/#.*/, `#/boards/${board}`));
    await tile(page, title).waitFor();
    for (const width of [1920, 1280, 1024, 820, 720, 600, 480, 390, 360]) {
      await page.setViewportSize({ width, height: 900 });
      await sleep(400);
      assert.deepEqual(await layoutFaults(page), [], `${board}, ${width} px`);
    }
  }
  await page.context().close();
}

// Every dialog fits and can be read, in both themes and on a phone; Escape closes it.
async function dialogs(browser) {
  for (const [scheme, width] of [['light', 1440], ['dark', 390]]) {
    const page = await browser.open('#/boards/house', { scheme, width, height: 800 });
    const dialog = page.locator('dialog[open]');
    const judge = async (what) => {
      await dialog.waitFor();
      assert.deepEqual(await axeFaults(page), [], `${what}, ${scheme}`);
      assert.deepEqual(await layoutFaults(page), [], `${what}, ${width} px`);
      await page.keyboard.press('Escape');
      await dialog.waitFor({ state: 'detached' });
    };
    await tile(page, 'Garage').waitFor();
    for (const item of ['Rename', 'Duplicate', 'Share a link', 'Import a file', 'Delete']) {
      await page.getByRole('button', { name: 'More for this board' }).click();
      await page.getByRole('menuitem', { name: item }).click();
      await judge(item);
    }
    await page.getByRole('button', { name: 'New board' }).click();
    await judge('New board');
    await page.getByRole('button', { name: 'Edit', exact: true }).click();
    for (const title of ['Kitchen', 'Front door', 'Temperature', 'Porch light', 'Blinds', 'Garage']) {
      await page.getByRole('button', { name: `Settings of ${title}` }).click();
      await judge(`Settings of ${title}`);
    }
    await page.goto(page.url().replace(/#.*/, '#/boards?add=house%2Fblinds'));
    await judge('Put a topic on a board');
    await until('the link is done with', () => !page.url().includes('add='));
    await page.context().close();
  }
}

async function phone(browser) {
  const page = await browser.open('#/boards/first-values', { width: 390, height: 844, touch: true });
  await until('gauges', async () => (await page.getByRole('meter').count()) > 1);
  await sleep(800);
  assert.deepEqual(await layoutFaults(page), []);
  assert.deepEqual(await axeFaults(page), []);
  // Whether one is on the first board already depends on what came first.
  const doors = async () => ((await api('GET', 'boards/first-values')).body.content?.tiles ?? []).filter(({ topic }) => topic === 'house/hall/door').length;
  const before = await doors();
  await page.getByRole('button', { name: 'More for this board' }).tap();
  const menu = await page.getByRole('menu').boundingBox();
  assert.ok(menu.x >= 0 && menu.x + menu.width <= 390 && menu.y >= 0 && menu.y + menu.height <= 844, 'the menu is on the screen');
  await page.keyboard.press('Escape');
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
  await until('it is saved', async () => await doors() > before);
  await page.goto(page.url().replace(/#.*/, '#/boards/house'));
  await until('the house is there', async () => (await page.locator('[data-tile]').count()) === 11);
  await sleep(500);
  assert.deepEqual(await layoutFaults(page), []);
  assert.deepEqual(await axeFaults(page), []);
  assert.ok((await page.locator('.page-head').boundingBox()).height < 50, 'the boards and what can be done with one stand in one row');
  const [chart, bar] = [await page.locator('.tile.show-chart').first().boundingBox(), await page.locator('nav.bar').boundingBox()];
  assert.ok(chart.y + chart.height <= bar.y, `the chart ends at ${chart.y + chart.height}, the screen at ${bar.y}`);
  await page.context().close();
}

export const checks = [
  ['a read-only link', readOnly], ['a viewer cannot edit, and is told why not', viewer], ['light and dark', themes], ['a button asks first', asks], ['every dialog', dialogs], ['every width', widths], ['a phone', phone],
];
