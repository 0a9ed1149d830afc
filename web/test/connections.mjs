// Who is connected, over what, and what goes to another broker. A broker without users with a listener for TLS at the port
// CORK_MQTTS, whose authority's certificate is the file CORK_CA; and another broker: its ports are REMOTE_MQTT and
// REMOTE_HTTP.
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { connect as encrypted } from 'node:tls';
import { accessible, api, leave, must, publish, run, until, visit } from './harness.mjs';

const { CORK_MQTT, CORK_MQTTS, CORK_CA, REMOTE_MQTT, REMOTE_HTTP } = process.env;
const text = (value) => [0, Buffer.byteLength(value), ...Buffer.from(value)];
const packet = (kind, body) => Buffer.from([kind, body.length, ...body]);
const CONNECT = 0x10;
const SUBSCRIBE = 0x82;

/** A client of 3.1.1, by bytes, with a user name and a Keep Alive of 77 s; given back with CONNACK. */
function client(id, stream) {
  return new Promise((done, failed) => {
    stream.on('error', failed);
    stream.once('data', () => done(stream));
    stream.write(packet(CONNECT, [...text('MQTT'), 4, 0x82, 0, 77, ...text(id), ...text('ann')]));
  });
}

const remote = async (path) => (await fetch(`http://127.0.0.1:${REMOTE_HTTP}/api/v1/${path}`)).json();
const row = (page, name) => page.getByRole('row').filter({ hasText: name }).first();

/** The cells of a client's row, by the heading above them. */
async function cells(page, name) {
  const heads = await page.getByRole('columnheader').allTextContents();
  const found = await row(page, name).getByRole('cell').allTextContents();
  return Object.fromEntries(heads.map((head, at) => [head.trim(), found[at]?.replace(/\s+/g, ' ').trim()]));
}

async function list(browser) {
  const plain = await client('plain-lamp', connect(Number(CORK_MQTT), '127.0.0.1'));
  const safe = await client('safe-lamp', encrypted({ port: Number(CORK_MQTTS), host: '127.0.0.1', ca: readFileSync(CORK_CA) }));
  // It never acknowledges what it gets: that stays in flight.
  safe.write(packet(SUBSCRIBE, [0, 1, ...text('lamps/#'), 1]));
  await until('its subscription', async () => (await api('GET', 'sessions/safe-lamp/subscriptions')).items.length === 1);
  await publish('lamps/1', 'on', { qos: 1 });
  const page = await visit(browser, 'clients');
  const told = await until('it has one in flight', async () => {
    const found = await cells(page, 'safe-lamp');
    return found['In flight'] === '1' && found['In/s'] !== '–' && found;
  });
  must(/^127\.0\.0\.1:\d+$/.test(told.Address) && told.Client.includes('ann'), JSON.stringify(told));
  must(told.Protocol === 'MQTT 3.1.1' && told.TLS === 'TLS 1.3' && told['Keep alive'] === '77 s', JSON.stringify(told));
  must(['In/s', 'Out/s'].every((way) => /^[\d.]+$/.test(told[way])) && told.Subscriptions === '1' && told.Queued === '0' && told.Connected !== '', JSON.stringify(told));
  const other = await cells(page, 'plain-lamp');
  must(other.TLS === 'none', JSON.stringify(other));
  await accessible(page, 'the list of clients');

  await page.getByRole('link', { name: 'safe-lamp' }).click();
  await page.getByText('TLS 1.3, TLS_AES').waitFor();
  const facts = await page.locator('.facts').textContent();
  for (const fact of ['ann', '127.0.0.1:', 'MQTT 3.1.1 over TCP', 'none shown', '1 min 17 s', 'Last packet', 'Waits for its socket', 'Will']) {
    must(facts.includes(fact), `the page of one client lacks ${fact}: ${facts}`);
  }
  await visit(browser, 'clients/subscriptions', { page });
  await page.getByLabel('Part of a topic filter').fill('lamps');
  await row(page, 'lamps/#').getByRole('link', { name: 'safe-lamp' }).waitFor();
  await leave(page);
  for (const stream of [plain, safe]) stream.destroy();
}

/** Clients whose names a browser takes for steps of a path. */
async function dots(browser) {
  const page = await visit(browser, 'clients');
  for (const name of ['.', '..']) {
    const stream = await client(name, connect(Number(CORK_MQTT), '127.0.0.1'));
    stream.write(packet(SUBSCRIBE, [0, 1, ...text(`dots/${name}`), 1]));
    const ended = new Promise((done) => { stream.on('close', done); });
    await visit(browser, 'clients', { page });
    await page.getByRole('link', { name, exact: true }).click();
    await page.getByText('From the client').waitFor();
    await page.getByText(`dots/${name}`, { exact: true }).waitFor();
    await page.getByRole('button', { name: 'Kick' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Kick' }).click();
    await ended;
    await page.getByText('There is no such session').waitFor();
  }
  await leave(page, /404/);
}

/** The number beside a list is that of its rows. */
async function counted(browser) {
  await publish('counted', '1');
  const page = await visit(browser, 'clients');
  const inside = page.getByLabel('Include bridges and sinks');
  await page.getByText('Nobody is connected').waitFor();
  await until('nobody is counted', async () => /^Connected\s*0$/.test((await page.getByRole('link', { name: /^Connected/ }).textContent()).trim()));
  await inside.check();
  await page.getByRole('row').nth(1).waitFor();
  must(/\$cork|in-process/.test(await page.getByRole('row').nth(1).textContent()), 'no part of the broker is listed');
  await leave(page);
}

/** What stands in the box for settings, changed. */
async function settings(dialog, change) {
  const box = dialog.getByLabel(/^Settings/);
  await until('they are there', async () => (await box.inputValue()) !== '');
  const now = JSON.parse(await box.inputValue());
  await box.fill('{"url": ');
  await dialog.getByText('No JSON').waitFor();
  must(await dialog.getByRole('button', { name: 'Save' }).isDisabled(), 'what is no JSON can be saved');
  await box.fill(JSON.stringify({ ...now, ...change }));
  await dialog.getByRole('button', { name: 'Save' }).click();
}

async function bridge(browser) {
  const page = await visit(browser, 'links');
  const bridges = page.locator('[data-test=bridges]');
  const dialog = page.getByRole('dialog');
  await page.getByRole('button', { name: 'Add a bridge' }).click();
  await dialog.getByLabel('Name').fill('attic');
  const topic = [{ filter: 'up/#', direction: 'out', qos: 1, remote_prefix: 'site/' }, { filter: 'down/#', direction: 'in', qos: 1 }];
  await settings(dialog, { url: `mqtt://127.0.0.1:${REMOTE_MQTT}`, topic });
  await bridges.getByText('online', { exact: true }).waitFor();
  await publish('up/1', 'out', { qos: 1, retain: true });
  await until('it is at the other broker', async () => (await remote('retained?filter=site/up/1')).items[0]?.payload === 'out');
  const answer = await fetch(`http://127.0.0.1:${REMOTE_HTTP}/api/v1/publish`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ topic: 'down/1', payload: 'in', qos: 1, retain: true }),
  });
  must(answer.ok, `the other broker says ${answer.status}`);
  await until('what is there is here', async () => (await api('GET', 'retained?filter=down/1')).items[0]?.payload === 'in');
  await until('what passed is counted', async () => Number(await row(bridges, 'attic').getByRole('cell').nth(5).textContent()) >= 2);

  await page.getByRole('button', { name: 'Change attic' }).click();
  await settings(dialog, { url: 'mqtt://127.0.0.1:1' });
  const overview = await visit(browser, 'overview');
  await until('the lost link is told', async () => /refused/i.test(await row(bridges, 'attic').textContent()));
  await publish('up/2', 'later', { qos: 1 });
  await until('what waits is told', async () => (await row(bridges, 'attic').getByRole('cell').nth(3).textContent()).startsWith('1'));
  const shown = row(overview, 'attic');
  await until('on the overview, too', async () => /waiting[\s\S]*1[\s\S]*refused/i.test(await shown.textContent()));
  await leave(overview);

  await page.getByRole('button', { name: 'Remove attic' }).click();
  await dialog.getByRole('button', { name: 'Remove' }).click();
  await page.getByText('There is no bridge').waitFor();
  must((await api('GET', 'bridges')).items.length === 0, 'it is still there');
  await leave(page);
}

await run([
  ['who is connected, from where and over what', list],
  ['the number of clients is that of the list', counted],
  ['clients named like steps of a path are shown and kicked', dots],
  ['a bridge is added, carries messages, tells of its trouble, and is removed', bridge],
]);
