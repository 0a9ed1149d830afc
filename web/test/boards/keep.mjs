// What stays: export and import, reload, two who change the same board, what the broker remembers, and the ends of boards.

import assert from 'node:assert/strict';
import { readFile } from 'node:fs/promises';
import { api, axeFaults, publish, stored, tile, until } from './help.mjs';

let page;
let file;

const menu = async (item) => {
  await page.getByRole('button', { name: 'More for this board' }).click();
  await page.getByRole('menuitem', { name: item }).click();
};
const places = () => page.locator('[data-tile]').evaluateAll((all) => all.map((one) => `${one.dataset.tile} ${one.style.transform} ${one.style.width} ${one.style.height}`).sort());

async function reload(browser) {
  page = await browser.open('#/boards/workbench');
  await tile(page, 'Door bell').waitFor();
  await until('the switch has its state', async () => (await tile(page, 'Test lamp').innerText()).includes('off'));
  await until('the slider stands where it was put', async () => (await page.getByRole('slider', { name: 'Test level' }).inputValue()) === '100');
  const was = await places();
  assert.ok(was.length >= 6);
  await page.reload();
  await tile(page, 'Door bell').waitFor();
  await until('the tiles lie as before', async () => JSON.stringify(await places()) === JSON.stringify(was));
}

async function exported() {
  const download = page.waitForEvent('download');
  await menu('Export as a file');
  const got = await download;
  assert.equal(got.suggestedFilename(), 'workbench.board.json');
  file = JSON.parse(await readFile(await got.path(), 'utf8'));
  assert.deepEqual([file.corkboard, file.version, file.name], ['board', 1, 'Workbench']);
  assert.deepEqual(file.tiles, (await api('GET', 'boards/workbench')).body.content.tiles);
}

async function imported() {
  await menu('Import a file');
  const dialog = page.getByRole('dialog', { name: 'Import a board' });
  const choose = (text) => dialog.getByLabel('A file that was exported').setInputFiles({ name: 'x.board.json', mimeType: 'application/json', buffer: Buffer.from(text) });
  await choose('{"corkboard": "board", "name": ');
  await dialog.getByText('is no JSON').waitFor();
  await choose(JSON.stringify({ ...file, tiles: [{ kind: 'dial' }, { kind: 'gauge', min: 3, max: 1, script: '<b>' }] }));
  await dialog.getByText('tiles[1].max').waitFor();
  assert.match(await dialog.innerText(), /3 faults/);
  assert.match(await dialog.innerText(), /tiles\[0\]\.kind is "dial"; there are gauge, value/);
  assert.ok(await dialog.getByRole('button', { name: 'Import' }).isDisabled());
  await choose(JSON.stringify(file));
  await dialog.getByText('1 switch').waitFor();
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Copy from a file');
  await dialog.getByRole('button', { name: 'Import' }).click();
  await until('the new board is open', () => page.url().endsWith('#/boards/copy-from-a-file'));
  await tile(page, 'Door bell').waitFor();
  assert.deepEqual((await api('GET', 'boards/copy-from-a-file')).body.content.tiles, file.tiles);
}

async function renamed() {
  await menu('Rename');
  const dialog = page.getByRole('dialog', { name: 'Rename this board' });
  await dialog.getByRole('textbox', { name: 'Name' }).fill('Second bench');
  await page.keyboard.press('Enter');
  await until('the name is saved', async () => (await api('GET', 'boards/copy-from-a-file')).body.name === 'Second bench');
  await page.getByRole('navigation', { name: 'Boards' }).getByRole('link', { name: 'Second bench' }).waitFor();
}

// Somebody else saves the board while it is edited here.
async function changedElsewhere(title) {
  const { body } = await api('GET', 'boards/copy-from-a-file');
  const tiles = body.content.tiles.map((one) => (one.kind === 'switch' ? { ...one, title } : one));
  assert.equal((await api('PUT', 'boards/copy-from-a-file', { name: body.name, content: { ...body.content, tiles }, revision: body.revision })).status, 200);
}

async function conflict() {
  page.expected = /409/;
  await page.getByRole('button', { name: 'Edit', exact: true }).click();
  await changedElsewhere('Theirs');
  await page.getByRole('button', { name: 'Remove Door bell' }).click();
  await page.getByRole('alert').getByText('Which one shall stay?').waitFor();
  await page.getByRole('button', { name: 'Take the newer' }).click();
  await tile(page, 'Theirs').waitFor();
  assert.equal(await tile(page, 'Door bell').count(), 1, 'the newer board has the bell still');
  await changedElsewhere('Theirs again');
  await page.getByRole('button', { name: 'Remove Door bell' }).click();
  await page.getByRole('button', { name: 'Overwrite with mine' }).click();
  await until('mine is saved', async () => (await stored('copy-from-a-file', 'Door bell')) === undefined && (await stored('copy-from-a-file', 'Theirs')) !== undefined);
  await page.getByRole('button', { name: 'Done' }).click();
  page.expected = undefined;
}

async function erased() {
  await menu('Delete');
  const dialog = page.getByRole('dialog', { name: /^Delete/ });
  assert.deepEqual(await axeFaults(page), []);
  await dialog.getByRole('button', { name: 'Cancel' }).click();
  assert.equal((await api('GET', 'boards/copy-from-a-file')).status, 200);
  await menu('Delete');
  await dialog.getByRole('button', { name: 'Delete', exact: true }).click();
  await until('it is gone', async () => (await api('GET', 'boards/copy-from-a-file')).status === 404);
  await until('another board is open', async () => (await page.locator('[data-tile]').count()) > 0 && !page.url().includes('copy-from'));
  await page.context().close();
}

async function textOnly(browser) {
  const evil = '<img src=x onerror="document.title=1"><b>bold</b>';
  await publish('test/evil', evil, true);
  const tiles = [{ id: 'a', kind: 'value', title: '<i>Title</i>', topic: 'test/evil' }, { id: 'b', kind: 'value', title: 'Old', topic: 'test/old', stale: 1, x: 3 }];
  assert.equal((await api('PUT', 'boards/odd', { name: 'Odd <u>one</u>', content: { version: 1, tiles: [...tiles, { kind: 'dial' }] }, revision: 0 })).status, 201);
  page = await browser.open('#/boards/odd');
  const shown = page.locator('[data-tile="a"]');
  await until('the payload is shown as text', async () => (await shown.locator('.text').textContent()).includes(evil));
  assert.equal(await shown.locator('h2').textContent(), '<i>Title</i>');
  assert.equal(await page.locator('main :is(img, .text b, h2 i)').count(), 0);
  assert.match(await page.locator('details.notice').textContent(), /tiles\[2\]\.kind/);
}

async function stale() {
  const old = page.locator('[data-tile="b"]');
  await publish('test/old', '7');
  await until('it is fresh', async () => (await old.locator('.text').textContent()) === '7' && !(await old.getAttribute('class')).includes('stale'));
  await until('it looks stale', async () => (await old.getAttribute('class')).includes('stale'), 6);
  assert.match(await old.locator('.note').textContent(), /ago/);
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await axeFaults(page), [], `stale, ${colorScheme}`);
  }
  await page.context().close();
}

// The broker's memory, played by the test: what the charts ask for, and that they show it.
async function remembers(browser) {
  const asked = [];
  const now = Date.now() / 1000;
  const points = Array.from({ length: 60 }, (_, at) => [now - 600 + at * 10, 1, 3, 2, 2, 5]);
  page = await browser.open('#/boards/workbench', {
    before: (fresh) => fresh.route('**/api/v1/history?*', (route) => {
      const query = new URL(route.request().url()).searchParams;
      asked.push(Object.fromEntries(query));
      return route.fulfill({ json: { series: [{ topic: query.get('filter'), field: '', columns: ['time', 'min', 'max', 'mean', 'last', 'count'], points }], truncated: false } });
    }),
  });
  await page.locator('.tile.show-chart canvas').first().waitFor();
  await until('the chart asked what was', () => asked.some((query) => query.filter === 'house/kitchen/temperature' && query.since === '600s'));
  const ink = () => page.locator('.tile.show-chart canvas').first().evaluate((canvas) => {
    const { width, height } = canvas;
    const pixels = canvas.getContext('2d').getImageData(Math.floor(width * 0.2), 0, Math.floor(width * 0.5), Math.floor(height * 0.85)).data;
    let count = 0;
    for (let at = 0; at < pixels.length; at += 4) {
      const [red, green, blue, alpha] = pixels.slice(at, at + 4);
      if (alpha > 120 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) count += 1;
    }
    return count;
  });
  await until('the line begins before the page did', async () => (await ink()) > 100);
  await page.context().close();
}

export const checks = [
  ['a reload keeps everything', reload], ['a board is exported', exported], ['a board is imported, a wrong file with its faults', imported],
  ['a board is renamed', renamed], ['two change the same board', conflict], ['a board is deleted after a question', erased],
  ['text is never markup', textOnly], ['stale values look stale', stale], ['charts begin with what the broker remembers', remembers],
];
