// A new broker: the board that makes itself, a gauge that follows, and the link that adds a topic.

import assert from 'node:assert/strict';
import { api, publish, tile, until } from './help.mjs';

let page;
// The board that grows may have taken the topic itself before the link put it there: then it is there twice.
const dial = () => tile(page, 'Test dial').first();

async function appears(browser) {
  page = await browser.open('#/boards');
  await until('a first gauge', async () => (await page.getByRole('meter').count()) > 0, 30);
  await until('a chart and a lamp', async () => (await page.locator('.tile.show-chart').count()) > 0 && (await page.locator('.tile.show-lamp').count()) > 0);
  assert.match(await page.locator('.notice').innerText(), /made itself/);
  const { body } = await api('GET', 'boards');
  assert.deepEqual(body.items, [], 'nothing is saved before somebody changes something');
}

async function moves() {
  const meter = page.getByRole('meter').first();
  const shown = new Set();
  await until('a gauge of the first board moves', async () => shown.add(await meter.getAttribute('aria-valuetext')).size > 1, 15);
}

async function route() {
  await publish('test/dial', '41', true);
  await page.goto(page.url().replace(/#.*/, '#/boards?add=test%2Fdial&field='));
  const dialog = page.getByRole('dialog', { name: 'Put a topic on a board' });
  await dialog.waitFor();
  assert.match(await dialog.innerText(), /test\/dial/);
  await until('the kind is guessed', async () => /What suits: gauge/.test(await dialog.innerText()));
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await dial().waitFor();
  await until('the link is done with', () => !page.url().includes('add='));
  const board = await until('the first edit saves the board', async () => (await api('GET', 'boards/first-values')).body.content);
  const saved = board.tiles.find(({ topic }) => topic === 'test/dial');
  assert.equal(saved.kind, 'gauge');
  assert.ok(saved.min <= 41 && saved.max >= 41 && board.tiles.length > 1);
}

async function field() {
  await page.goto(page.url().replace(/#.*/, '#/boards?add=house%2Fmeter&field=power'));
  const dialog = page.getByRole('dialog', { name: 'Put a topic on a board' });
  await dialog.getByRole('combobox', { name: 'As' }).selectOption('chart');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await until('the chart is saved', async () => (await api('GET', 'boards/first-values')).body.content.tiles
    .some(({ kind, series }) => kind === 'chart' && series.some((line) => line.topic === 'house/meter' && line.field === 'power')));
}

async function follows() {
  const meter = dial().getByRole('meter');
  for (const value of ['12.5', '47', '33']) {
    await publish('test/dial', value);
    await until(`the gauge shows ${value}`, async () => (await meter.getAttribute('aria-valuenow')) === value, 5);
    assert.match(await meter.innerText().catch(() => '') || await meter.textContent(), new RegExp(value.replace('.', '\\.')));
  }
}

async function oneStream() {
  page.streams = 0;
  await page.reload();
  await dial().waitFor();
  await until('values come', async () => (await dial().getByRole('meter').getAttribute('aria-valuenow')) === '41');
  assert.equal(page.streams, 1, `one stream for all tiles, not ${page.streams}`);
  await page.context().close();
}

export const checks = [
  ['the first board appears by itself', appears], ['its gauges move', moves], ['a link adds a topic, the first edit saves', route],
  ['a link adds a field of JSON as a chart', field], ['a gauge follows what is published', follows], ['all tiles share one stream', oneStream],
];
