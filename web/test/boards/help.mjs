// What the checks of the boards share: a browser that notes every error, requests to the broker, and questions to a page.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { chromium } from 'playwright-core';

export const HTTP = (process.env.CORK_HTTP ?? '').replace(/\/$/, '');
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** A request to the API; resolves to `{ status, body }`. */
export async function api(method, path, body) {
  const response = await fetch(`${HTTP}/api/v1/${path}`, {
    method, headers: body === undefined ? {} : { 'Content-Type': 'application/json' }, body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  return { status: response.status, body: text === '' ? null : JSON.parse(text) };
}

export async function publish(topic, payload, retain = false) {
  const { status } = await api('POST', 'publish', { topic, payload: String(payload), retain });
  assert.equal(status, 200, `publishing to ${topic}`);
}

/** The retained payload of a topic; undefined if there is none. */
export async function retained(topic) {
  const { body } = await api('GET', `retained?filter=${encodeURIComponent(topic)}`);
  return body.items[0]?.payload;
}

export const sleep = (milliseconds) => new Promise((done) => { setTimeout(done, milliseconds); });

/** Asks until `question` has an answer that is not false, null or undefined. */
export async function until(what, question, seconds = 10) {
  const end = Date.now() + seconds * 1000;
  for (;;) {
    const answer = await question();
    if (answer !== false && answer !== null && answer !== undefined) return answer;
    if (Date.now() > end) throw new Error(`not within ${seconds} s: ${what}`);
    await sleep(100);
  }
}

export class Browser {
  errors = [];

  async start() { this.browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] }); }

  /** A page at `hash`, in a window of its own; every error it says is noted. */
  async open(hash, { width = 1440, height = 900, scheme = 'light', before = async () => {}, touch = false } = {}) {
    const context = await this.browser.newContext({ viewport: { width, height }, colorScheme: scheme, hasTouch: touch, acceptDownloads: true });
    const page = await context.newPage();
    page.setDefaultTimeout(8000);
    page.streams = 0;
    // Server-Sent Events are requests, WebSockets are not.
    for (const kind of ['request', 'websocket']) page.on(kind, (one) => { if (/\/api\/v1\/messages\?/.test(one.url())) page.streams += 1; });
    page.on('console', (line) => {
      if (!['error', 'warning'].includes(line.type())) return;
      // A broker without history says 404 once; a test that provokes a refusal says which.
      const at = line.location().url ?? '';
      if (/\/api\/v1\/history/.test(at) || page.expected?.test(`${line.text()} ${at}`)) return;
      this.errors.push(`${line.type()}: ${line.text()} (${at})`);
    });
    page.on('pageerror', (error) => this.errors.push(`page error: ${error.stack}`));
    await before(page);
    await page.goto(`${HTTP}/${hash}`);
    await page.locator('main').waitFor();
    return page;
  }

  async end() { await this.browser?.close(); }
}

/** Every serious or critical fault axe finds, in one line each. */
export async function axeFaults(page) {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    const { violations } = await globalThis.axe.run(document, { resultTypes: ['violations'] });
    return violations.filter(({ impact }) => ['serious', 'critical'].includes(impact))
      .map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ target, failureSummary }) => `${target.join(' ')} (${failureSummary})`).join(' | ')}`);
  });
}

/** What of a page's layout is broken: sideways scrolling, tiles that overlap or stick out, text that is cut off. */
export function layoutFaults(page) {
  return page.evaluate(() => {
    const faults = [];
    const root = document.documentElement;
    if (root.scrollWidth > root.clientWidth) faults.push(`the page scrolls sideways: ${root.scrollWidth} > ${root.clientWidth}`);
    const main = document.getElementById('main');
    if (main.scrollWidth > main.clientWidth) faults.push(`main scrolls sideways: ${main.scrollWidth} > ${main.clientWidth}`);
    const tiles = [...document.querySelectorAll('[data-tile]')].map((tile) => ({ tile, name: tile.querySelector('h2').textContent, box: tile.getBoundingClientRect() }));
    tiles.forEach(({ tile, name, box }, at) => {
      if (box.right > main.getBoundingClientRect().right + 1) faults.push(`${name} sticks out on the right`);
      for (const other of tiles.slice(at + 1)) {
        const apart = box.right <= other.box.left || other.box.right <= box.left || box.bottom <= other.box.top || other.box.bottom <= box.top;
        if (!apart) faults.push(`${name} overlaps ${other.name}`);
      }
      const body = tile.querySelector('.body');
      if (body.clientWidth < box.width - 4) faults.push(`${name} does not use its width`);
      if (body.scrollHeight > body.clientHeight + 1) faults.push(`what ${name} shows is ${body.scrollHeight - body.clientHeight} px too high`);
      if (body.scrollWidth > body.clientWidth + 1) faults.push(`what ${name} shows is ${body.scrollWidth - body.clientWidth} px too wide`);
    });
    for (const dialog of document.querySelectorAll('dialog[open]')) {
      const box = dialog.getBoundingClientRect();
      if (box.left < 0 || box.right > root.clientWidth + 1) faults.push('a dialog sticks out');
      if (dialog.scrollWidth > dialog.clientWidth + 1) faults.push('a dialog scrolls sideways');
    }
    return faults;
  });
}

/** Tile id by its title, with its place on the grid as the store knows it. */
export async function stored(id, title) {
  const { body } = await api('GET', `boards/${id}`);
  return body.content.tiles.find((tile) => tile.title === title);
}

export const tile = (page, title) => page.locator('[data-tile]').filter({ has: page.locator('h2', { hasText: new RegExp(`^${title}$`) }) });
