// Making a board: the Add dialog, dragging, settings, mouse and keyboard; and what switches, sliders and buttons publish.

import assert from 'node:assert/strict';
import { axeFaults, layoutFaults, publish, retained, stored, tile, until } from './help.mjs';

let page;
const add = () => page.getByRole('dialog', { name: 'Add tiles' });
const settings = () => page.getByRole('dialog', { name: /^Settings of/ });
const saved = (question) => until('it is saved', async () => {
  const board = await question();
  return board === undefined ? null : board;
});

async function newBoard(browser) {
  page = await browser.open('#/boards');
  await page.getByRole('button', { name: 'New board' }).click();
  const dialog = page.getByRole('dialog', { name: 'New board' });
  await dialog.getByRole('button', { name: 'Create' }).click();
  assert.match(await dialog.innerText(), /A board needs a name/);
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Workbench');
  await page.keyboard.press('Enter');
  await page.getByText('An empty board').waitFor();
  assert.match(page.url(), /#\/boards\/workbench$/);
  await page.getByRole('button', { name: 'Edit this board' }).click();
}

async function addDialog() {
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  for (const [kind, topic] of [['switch', 'test/lamp'], ['slider', 'test/level'], ['button', 'test/bell']]) {
    await add().getByRole('combobox', { name: 'Kind' }).selectOption(kind);
    await add().getByRole('textbox', { name: /nothing came from/ }).fill(topic);
    await page.keyboard.press('Enter');
  }
  await add().getByRole('textbox', { name: /nothing came from/ }).fill('test/#');
  await page.keyboard.press('Enter');
  assert.match(await add().innerText(), /holds no “\+” and no “#”/);
  await add().getByRole('combobox', { name: 'Kind' }).selectOption('');
  await add().getByRole('searchbox').fill('kitchen/humid');
  await add().getByRole('button', { name: 'Add house/kitchen/humidity' }).click();
  assert.deepEqual(await axeFaults(page), []);
  assert.deepEqual(await layoutFaults(page), []);
  await add().getByRole('button', { name: /^Done, 4 tiles/ }).click();
  const gauge = await saved(() => stored('workbench', 'Kitchen humidity'));
  assert.deepEqual([gauge.kind, gauge.unit, gauge.min, gauge.max], ['gauge', '%', 0, 100]);
}

// Playwright's own dragging, with the real events of the browser.
async function dragTopic() {
  await page.locator('aside').getByRole('searchbox').fill('temperature');
  await page.locator('aside li', { hasText: 'temperature' }).first().waitFor();
  const row = page.locator('aside li.leaf').first();
  await row.dragTo(page.locator('ul.grid'), { targetPosition: { x: 700, y: 300 } });
  const title = await until('the topic is on the board', async () => {
    const titles = await page.locator('[data-tile] h2').allInnerTexts();
    return titles.find((one) => / temperature$/i.test(one));
  });
  const placed = await saved(() => stored('workbench', title));
  assert.ok(placed.x > 0, `it lies where it was dropped, not in column ${placed.x}`);
  assert.equal(placed.unit, '°C');
}

async function dragLine() {
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await add().getByRole('combobox', { name: 'Kind' }).selectOption('chart');
  await add().getByRole('searchbox').fill('house/kitchen/temp');
  await add().getByRole('button', { name: 'Add house/kitchen/temperature' }).click();
  await add().getByRole('button', { name: /^Done/ }).click();
  await page.locator('aside').getByRole('searchbox').fill('house/bedroom/temp');
  await page.locator('aside li.leaf').first().dragTo(page.locator('.tile.show-chart'));
  await until('the chart has two lines', async () => (await page.locator('.tile.show-chart .key').count()) === 2);
}

async function editDialog() {
  await page.getByRole('button', { name: 'Settings of Test bell' }).click();
  await settings().getByRole('textbox', { name: 'Title' }).fill('Door bell');
  await settings().getByRole('textbox', { name: 'Words on the button' }).fill('Ring');
  await settings().getByRole('textbox', { name: 'Payload' }).fill('ding <b>dong</b>');
  await settings().getByRole('combobox', { name: 'QoS' }).selectOption('1');
  await settings().getByRole('checkbox', { name: /^Retain/ }).check();
  await settings().getByRole('button', { name: 'Apply' }).click();
  const bell = await saved(() => stored('workbench', 'Door bell'));
  assert.deepEqual([bell.label, bell.payload, bell.qos, bell.retain, bell.target], ['Ring', 'ding <b>dong</b>', 1, true, 'test/bell']);
  for (const title of ['Test lamp', 'Test level']) {
    await page.getByRole('button', { name: `Settings of ${title}` }).click();
    await settings().getByRole('checkbox', { name: /^Retain/ }).check();
    await settings().getByRole('button', { name: 'Apply' }).click();
  }
}

async function thresholds() {
  await page.getByRole('button', { name: 'Settings of Kitchen humidity' }).click();
  await settings().getByRole('spinbutton', { name: 'Highest' }).fill('0');
  await settings().getByRole('button', { name: 'Apply' }).click();
  assert.match(await settings().innerText(), /is not larger than min \(0\)/);
  await settings().getByRole('spinbutton', { name: 'Highest' }).fill('120');
  await settings().getByRole('button', { name: 'Threshold', exact: true }).click();
  await settings().getByRole('spinbutton', { name: 'From (1)' }).fill('80');
  await settings().getByRole('radio', { name: 'Colour from 80: Alarm' }).check({ force: true });
  assert.deepEqual(await axeFaults(page), []);
  assert.deepEqual(await layoutFaults(page), []);
  await settings().getByRole('button', { name: 'Apply' }).click();
  const gauge = await saved(async () => {
    const one = await stored('workbench', 'Kitchen humidity');
    return one.max === 120 ? one : undefined;
  });
  assert.deepEqual(gauge.thresholds, [{ from: 80, colour: 'bad' }]);
}

async function keyboard() {
  const was = await stored('workbench', 'Door bell');
  await page.getByRole('button', { name: 'Move Door bell', exact: true }).focus();
  await page.keyboard.press('ArrowDown');
  const moved = await saved(async () => {
    const now = await stored('workbench', 'Door bell');
    return now.y !== was.y || now.x !== was.x ? now : undefined;
  });
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Move Door bell', 'the focus stays');
  await page.keyboard.press('Shift+ArrowRight');
  await saved(async () => ((await stored('workbench', 'Door bell')).w === moved.w + 1 ? true : undefined));
  await page.keyboard.press('Control+z');
  await saved(async () => ((await stored('workbench', 'Door bell')).w === moved.w ? true : undefined));
  await page.keyboard.press('Enter');
  await settings().waitFor();
  await page.keyboard.press('Escape');
  await settings().waitFor({ state: 'detached' });
  assert.deepEqual(await layoutFaults(page), []);
}

async function removes() {
  await page.getByRole('button', { name: 'Settings of Kitchen temperature' }).first().click();
  const count = await page.locator('[data-tile]').count();
  await settings().getByRole('button', { name: 'Remove', exact: true }).click();
  await until('one tile is gone', async () => (await page.locator('[data-tile]').count()) === count - 1);
  await page.getByRole('button', { name: 'Undo' }).click();
  await until('undo brings it back', async () => (await page.locator('[data-tile]').count()) === count);
}

async function mouse() {
  const one = tile(page, 'Kitchen humidity');
  const was = await stored('workbench', 'Kitchen humidity');
  const grip = await page.getByRole('button', { name: 'Move Kitchen humidity', exact: true }).boundingBox();
  const box = await one.boundingBox();
  const corner = { x: box.x + box.width - 8, y: box.y + box.height - 8 };
  await page.mouse.move(corner.x, corner.y);
  await page.mouse.down();
  await page.mouse.move(corner.x + box.width / 2, corner.y + 70, { steps: 6 });
  await page.mouse.up();
  const wider = await saved(async () => {
    const now = await stored('workbench', 'Kitchen humidity');
    return now.w > was.w && now.h > was.h ? now : undefined;
  });
  await page.mouse.move(grip.x + 10, grip.y + 10);
  await page.mouse.down();
  await page.mouse.move(grip.x + 10, grip.y + 400, { steps: 8 });
  await page.mouse.up();
  await saved(async () => ((await stored('workbench', 'Kitchen humidity')).y > wider.y ? true : undefined));
  assert.deepEqual(await layoutFaults(page), []);
}

async function controls() {
  await page.getByRole('button', { name: 'Done' }).click();
  const lamp = page.getByRole('switch', { name: 'Test lamp' });
  await lamp.click();
  await until('the switch publishes on', async () => (await retained('test/lamp')) === 'on');
  await until('it shows on', async () => (await lamp.getAttribute('aria-checked')) === 'true');
  await publish('test/lamp', 'off', true);
  await until('it follows what others publish', async () => (await lamp.getAttribute('aria-checked')) === 'false');
  await page.getByRole('slider', { name: 'Test level' }).focus();
  await page.keyboard.press('End');
  await until('the slider publishes', async () => (await retained('test/level')) === '100');
  await page.getByRole('button', { name: 'Ring' }).click();
  await until('the button publishes', async () => (await retained('test/bell')) === 'ding <b>dong</b>');
}

export const checks = [
  ['a new board', newBoard], ['the Add dialog', addDialog], ['a topic is dragged onto the board', dragTopic], ['a topic is dragged onto a chart', dragLine],
  ['settings of a button', editDialog], ['settings of a gauge, with their faults', thresholds], ['moving and resizing by keyboard', keyboard],
  ['moving and resizing by mouse', mouse], ['a tile is removed, and comes back', removes], ['a switch, a slider and a button publish', controls],
  ['the page of the board is left', () => page.context().close()],
];
