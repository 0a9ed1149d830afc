// A board edited by finger, on a tablet and on a phone: real touches, as the browser gets them from its screen.

import assert from 'node:assert/strict';
import { api, axeFaults, layoutFaults, sleep, stored, tile, until } from './help.mjs';

const BOARD = 'fingers';
const TITLES = ['One', 'Two', 'Three', 'Four'];
let page;
let finger;

const order = async () => (await api('GET', `boards/${BOARD}`)).body.content.tiles.sort((a, b) => a.y - b.y || a.x - b.x).map(({ title }) => title);
const saved = (what, holds) => until(what, async () => holds(await stored(BOARD, 'One')));
const scrolled = () => page.evaluate(() => document.getElementById('main').scrollTop);

async function open(browser, width, height) {
  const tiles = TITLES.map((title, at) => ({
    kind: 'gauge', title, topic: 'house/kitchen/humidity', unit: '%', min: 0, max: 100, x: (at % 2) * 6, y: Math.floor(at / 2) * 4, w: 4, h: 4,
  }));
  const { body } = await api('GET', 'boards');
  if (body.items.some(({ id }) => id === BOARD)) await api('DELETE', `boards/${BOARD}`);
  assert.equal((await api('PUT', `boards/${BOARD}`, { name: 'Fingers', content: { version: 1, tiles }, revision: 0 })).status, 201);
  page = await browser.open(`#/boards/${BOARD}`, { width, height, touch: true });
  const session = await page.context().newCDPSession(page);
  finger = (type, at) => session.send('Input.dispatchTouchEvent', { type, touchPoints: at === undefined ? [] : [{ x: at.x, y: at.y }] });
  await page.getByRole('button', { name: 'Edit', exact: true }).tap();
  await tile(page, 'Four').waitFor();
  await sleep(300);
}

/** A finger is put down at `from`, drawn to `to`, and lifted. */
async function draw(from, to) {
  await finger('touchStart', from);
  for (let part = 1; part <= 8; part += 1) {
    await finger('touchMove', { x: from.x + ((to.x - from.x) * part) / 8, y: from.y + ((to.y - from.y) * part) / 8 });
    await sleep(20);
  }
  await finger('touchEnd');
  await sleep(250);
}

async function middle(locator) {
  const box = await locator.boundingBox();
  return { x: box.x + box.width / 2, y: box.y + box.height / 2 };
}

const grip = (title) => middle(page.getByRole('button', { name: `Move ${title}`, exact: true }));
// A finger is no mouse: it takes the corner somewhere near.
async function corner(title) {
  const box = await tile(page, title).boundingBox();
  return { x: box.x + box.width - 22, y: box.y + box.height - 22 };
}

async function tablet(browser) {
  await open(browser, 1024, 768);
  const from = await corner('One');
  await draw(from, { x: from.x + 200, y: from.y + 130 });
  await saved('it is larger', ({ w, h }) => w >= 6 && h === 6);
  const hold = await grip('One');
  await draw(hold, { x: hold.x + 260, y: hold.y + 60 });
  await saved('it is elsewhere', ({ x }) => x >= 3);
  assert.equal(await scrolled(), 0, 'the page did not scroll with the finger');
  assert.deepEqual(await layoutFaults(page), []);
  // A tap on the grip changes nothing, and gives it the focus: a keyboard goes on from there.
  const before = JSON.stringify(await stored(BOARD, 'Two'));
  await draw(await grip('Two'), await grip('Two'));
  await sleep(800);
  assert.equal(JSON.stringify(await stored(BOARD, 'Two')), before);
  assert.equal(await page.evaluate(() => document.activeElement.getAttribute('aria-label')), 'Move Two');
  await page.context().close();
}

async function phone(browser) {
  await open(browser, 390, 844);
  assert.deepEqual(await order(), TITLES);
  await draw(await grip('One'), await middle(tile(page, 'Four')));
  await until('it was carried to the end', async () => (await order()).join() === 'Two,Three,Four,One');
  await draw(await grip('One'), await middle(tile(page, 'Two')));
  await until('and back to the beginning', async () => (await order()).join() === TITLES.join());
  const from = await corner('One');
  await draw(from, { x: from.x, y: from.y + 120 });
  await saved('it is higher, and as wide on a desk as it was', ({ w, h }) => w === 4 && h === 6);
  const again = await corner('One');
  await draw(again, { x: again.x + 150, y: again.y });
  await saved('it has both columns', ({ w }) => w === 8);
  assert.ok((await tile(page, 'One').boundingBox()).width > 300);
  await page.getByRole('button', { name: 'Move One', exact: true }).focus();
  await page.keyboard.press('Shift+ArrowLeft');
  await saved('a key makes it narrow again', ({ w }) => w === 4);
  assert.deepEqual(await layoutFaults(page), []);
  assert.deepEqual(await axeFaults(page), []);
  // A finger on the tile itself scrolls the page, as everywhere.
  await page.setViewportSize({ width: 390, height: 520 });
  await sleep(300);
  const body = await middle(tile(page, 'Two'));
  const before = await order();
  await draw(body, { x: body.x, y: body.y - 250 });
  await until('the page scrolls', async () => (await scrolled()) > 50);
  await sleep(800);
  assert.deepEqual(await order(), before, 'and moves no tile');
  await page.context().close();
}

async function twoFingers(browser) {
  await open(browser, 1024, 768);
  const session = await page.context().newCDPSession(page);
  const touches = (type, ...points) => session.send('Input.dispatchTouchEvent', { type, touchPoints: points.map(({ x, y }, id) => ({ x, y, id })) });
  const one = await grip('One');
  const four = await middle(tile(page, 'Four'));
  await touches('touchStart', one);
  await touches('touchStart', one, four);
  for (let part = 1; part <= 5; part += 1) await touches('touchMove', one, { x: four.x, y: four.y + part * 10 });
  await touches('touchEnd');
  await sleep(800);
  assert.equal((await order()).join(), TITLES.join(), 'a second finger drags nothing');
  await page.context().close();
  await api('DELETE', `boards/${BOARD}`);
}

export const checks = [
  ['moving and resizing by finger on a tablet', tablet], ['on a phone', phone], ['a second finger does no harm', twoFingers],
];
