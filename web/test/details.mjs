// What an operator does with one thing: a session that waits, a client to be kept out, a payload in a format of its own, a
// database that refused. A broker without users whose configuration is in a file; its MQTT port is CORK_MQTT.
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { api, leave, must, publish, run, until, visit } from './harness.mjs';

const text = (value) => [0, Buffer.byteLength(value), ...Buffer.from(value)];
const packet = (kind, body) => Buffer.from([kind, body.length, ...body]);

/** A client of 3.1.1, by bytes: `{ stream, code }`, once CONNACK is there. `code` is null if the stream ended before. */
function client(id, { filter, clean = true } = {}) {
  return new Promise((done) => {
    const stream = connect(Number(process.env.CORK_MQTT), '127.0.0.1');
    stream.on('error', () => {});
    stream.on('close', () => done({ stream, code: null }));
    stream.once('data', (answer) => {
      if (filter) stream.write(packet(0x82, [0, 1, ...text(filter), 1]));
      setTimeout(() => done({ stream, code: answer[3] }), filter ? 200 : 0);
    });
    stream.write(packet(0x10, [...text('MQTT'), 4, clean ? 2 : 0, 0, 60, ...text(id)]));
  });
}

const asBytes = (topic, bytes, more) => api('POST', 'publish', { topic, payload: Buffer.from(bytes).toString('base64'), encoding: 'base64', ...more });
const topicPage = (browser, topic) => visit(browser, `topics?t=${encodeURIComponent(topic)}`);
const half = [0xfb, 0x40, 0x35, 0x80, 0, 0, 0, 0, 0];
const word = Buffer.from('temperature');
const PIXEL = Buffer.from('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==', 'base64');

await run([
  ['payloads in CBOR, MessagePack, as an image, and as bytes', async (browser) => {
    const page = await topicPage(browser, 'lab/formats');
    await page.waitForTimeout(800);
    const payload = page.locator('[data-test=payload]');
    const kinds = [['cbor', [0xa1, 0x6b, ...word, ...half]], ['msgpack', [0x81, 0xab, ...word, 0xcb, ...half.slice(1)]]];
    for (const [kind, body] of kinds) {
      await asBytes('lab/formats', body);
      await page.locator('article .badge', { hasText: new RegExp(`^${kind}$`) }).waitFor();
      must((await payload.textContent()).includes('"temperature": 21.5'), `${kind}: ${await payload.textContent()}`);
    }
    must(await page.locator('.fields canvas').count() === 1, 'the number in it has no chart');
    await asBytes('lab/formats', PIXEL, { properties: { content_type: 'image/png' } });
    const image = page.getByAltText('Payload of this message');
    await image.waitFor();
    await until('it is drawn', () => image.evaluate((one) => one.naturalWidth === 1));
    await page.getByRole('button', { name: 'Bytes' }).click();
    must(/89 ?50 ?4e ?47/i.test(await page.getByLabel('Payload as bytes').textContent()), 'no bytes of a PNG');
    await page.getByRole('button', { name: 'Image' }).click();
    // A picture that can hold a script is text.
    await publish('lab/formats', '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>', { properties: { content_type: 'image/svg+xml' } });
    await until('markup as text', async () => (await payload.count()) > 0 && (await payload.textContent()).includes('<script>'));
    must(await image.count() === 0, 'an SVG is shown as an image');
    await leave(page);
  }],

  ['numbers of one path are one chart, and the page goes on', async (browser) => {
    const page = await topicPage(browser, 'lab/dots');
    await publish('lab/dots', '{"a.b":1,"a":{"b":2},"c":3}', { retain: true });
    await until('a chart of each path', async () => (await page.locator('.fields canvas').count()) === 2);
    await visit(browser, `topics?t=${encodeURIComponent('lab/other')}`, { page });
    await publish('lab/other', '7', { retain: true });
    await page.locator('[data-test=payload]', { hasText: '7' }).waitFor();
    await leave(page);
  }],

  ['what is true or false has a chart that says so', async (browser) => {
    const page = await topicPage(browser, 'lab/pump');
    await page.waitForTimeout(800);
    for (const on of [false, true]) await publish('lab/pump', `{"on":${on},"level":3}`);
    const names = page.locator('.fields figcaption');
    await until('a chart of the number, and of the yes', async () => (await names.allTextContents()).map((name) => name.replace(/\s+/g, ' ').trim()).join() === 'level 3,on true');
    await leave(page);
  }],

  ['the time since when a value is kept is that of its message', async (browser) => {
    await publish('lab/kept', 'old', { retain: true, qos: 1 });
    await new Promise((done) => setTimeout(done, 2100));
    const page = await topicPage(browser, 'lab/kept');
    const said = async () => {
      const text = await page.locator('main').textContent();
      return [/Retained since (\d+:\d+:\d+)/.exec(text)?.[1], /(\d+:\d+:\d+).*QoS/.exec(await page.locator('.about').textContent())?.[1]];
    };
    const { items } = await api('GET', 'retained?filter=lab/kept');
    const since = new Date(items[0].time).toTimeString().slice(0, 8);
    await until('both are when it came', async () => (await said()).every((time) => time === since));
    for (let at = 0; at < 4; at += 1) {
      await publish('lab/kept', at, { retain: true, qos: 1 });
      await page.waitForTimeout(1100);
      const [kept, came] = await said();
      must(kept === came, `the message came at ${came}, and is kept since ${kept}`);
    }
    await leave(page);
  }],

  ['the publishing box sets QoS and properties', async (browser) => {
    const page = await topicPage(browser, 'lab/box');
    const box = page.locator('section.card', { hasText: 'Publish' }).last();
    await box.getByLabel('Payload', { exact: true }).fill('{"on": true}');
    await box.getByRole('button', { name: 'JSON' }).click();
    await box.getByRole('button', { name: 'QoS 2' }).click();
    await box.getByLabel('Retain').check();
    await box.getByRole('button', { name: 'Properties' }).click();
    await box.getByLabel('Response topic').fill('lab/answers');
    await box.getByRole('button', { name: 'User property' }).click();
    await box.getByLabel('Name of a user property').fill('site');
    await box.getByLabel('Its value').fill('north');
    await box.getByRole('button', { name: 'Publish', exact: true }).click();
    const kept = await until('it is kept', async () => (await api('GET', 'retained?filter=lab/box')).items[0]);
    must(kept.qos === 2 && kept.payload === '{"on": true}', JSON.stringify(kept));
    const { content_type: type, response_topic: answers, user } = kept.properties;
    must(type === 'application/json' && answers === 'lab/answers' && user[0].join() === 'site,north', JSON.stringify(kept.properties));
    await page.getByText('Retained since').waitFor();
    await leave(page);
  }],

  ['the tree tells value, rate, size and what is kept, and how much it leaves out', async (browser) => {
    await publish('lab/tree/kept', 'a value of 22 bytes ..', { retain: true, qos: 1 });
    const page = await visit(browser, 'topics');
    await page.getByLabel('Search topics').fill('lab/tree/#');
    const line = (topic) => page.locator(`[data-topic="${topic}"]`);
    const kept = line('lab/tree/kept');
    await kept.waitFor();
    must(/a value of 22 bytes \.\..*22 B/.test(await kept.textContent()), await kept.textContent());
    await kept.locator('.mark[title=retained]').waitFor();
    await until('a sample, said on the screen', async () => {
      await Promise.all(Array.from({ length: 40 }, (_, number) => publish('lab/tree/fast', number)));
      return /sampled.*in between not shown/.test(await page.locator('[data-test=sampling]').textContent());
    });
    // A message weighs nothing in the moment when it comes: the rate is there with the next picture.
    await until('a rate', async () => /[\d.,k]+\/s/.test(await line('lab/tree/fast').locator('.rate').textContent()));
    must(await line('lab/tree/fast').locator('.mark[title=retained]').count() === 0, 'what is not kept is marked');
    await until('every message is shown again', async () => (await page.locator('[data-test=sampling]').textContent()).includes('no sampling'));
    await leave(page);
  }],

  ['the charts of the overview begin with the past', async (browser) => {
    const page = await visit(browser, 'overview');
    // Asked once for each load of the page. The request, for the first load's answer may come late and go with its page.
    const [asked] = await Promise.all([page.waitForRequest((request) => request.url().includes('/overview/history')), page.reload()]);
    const { series } = await (await asked.response()).json();
    must(series.messages_in?.filter((value) => value !== null).length > 2, `no past: ${JSON.stringify(series).slice(0, 300)}`);
    await page.locator('.plot canvas').first().waitFor();
    await leave(page);
  }],

  ['the chart of a number begins with its past', async (browser) => {
    for (const value of [1, 2, 3]) await publish('lab/past', value, { retain: true, qos: 1 });
    const page = await visit(browser, 'topics');
    const [answer] = await Promise.all([
      page.waitForResponse((response) => response.url().includes('/history?') && response.url().includes('lab%2Fpast')),
      visit(browser, `topics?t=${encodeURIComponent('lab/past')}`, { page }),
    ]);
    const { series } = await answer.json();
    must(series[0]?.points.length > 0, `no past: ${JSON.stringify(series)}`);
    await page.locator('.fields canvas').waitFor();
    await leave(page);
  }],

  ['what waits for who is away, and its session deleted', async (browser) => {
    const { stream } = await client('sleeper', { filter: 'sleep/#', clean: false });
    stream.destroy();
    await until('it is away', async () => (await api('GET', 'sessions/sleeper')).connected === false);
    for (const value of [1, 2, 3]) await publish('sleep/log', value, { qos: 1 });
    const page = await visit(browser, 'clients/away');
    await until('three wait', async () => (await page.getByRole('row').filter({ hasText: 'sleeper' }).first().getByRole('cell').nth(1).textContent()).trim() === '3');
    await page.getByRole('link', { name: 'sleeper' }).click();
    await page.getByText('sleep/#').waitFor();
    await page.getByRole('button', { name: 'Delete session' }).click();
    const dialog = page.getByRole('dialog');
    must((await dialog.textContent()).includes('3 waiting messages'), await dialog.textContent());
    await dialog.getByRole('button', { name: 'Delete' }).click();
    await until('it is gone', async () => (await api('GET', 'sessions')).items.every(({ client_id: id }) => id !== 'sleeper'));
    await leave(page, /404/);
  }],

  ['a client is kept out from its own page', async (browser) => {
    const { stream } = await client('rogue');
    const page = await visit(browser, 'clients/client/rogue');
    await page.getByRole('button', { name: 'Ban' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Ban', exact: true }).click();
    await until('its connection is cut', () => stream.closed);
    must((await client('rogue')).code !== 0, 'it was let in again');
    const overview = await visit(browser, 'overview');
    await overview.getByRole('row').filter({ hasText: 'Banned' }).waitFor();
    await visit(browser, 'access/bans', { page });
    await page.getByRole('button', { name: 'Let in again' }).click();
    await page.getByText('Nobody is banned').waitFor();
    const again = await client('rogue');
    must(again.code === 0, `after that its CONNACK is ${again.code}`);
    again.stream.destroy();
    await visit(browser, 'log/audit', { page });
    await until('who did it is on record', async () => /rogue/.test(await page.locator('main').textContent()));
    await leave(overview);
    await leave(page, /404/);
  }],

  ['what a database refused is read and tried again; the overview tells of it', async (browser) => {
    let refuse = true;
    const [saved, refused] = [[], []];
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (part) => { body += part; });
      request.on('end', () => { (refuse ? refused : saved).push(body); response.writeHead(refuse ? 422 : 204).end(); });
    });
    await new Promise((done) => { server.listen(0, '127.0.0.1', done); });
    await api('PUT', 'sinks/hook', { type: 'http', url: `http://127.0.0.1:${server.address().port}/`, filter: 'bought/#' });
    for (const [what, count] of [['milk', 'two'], ['bread', 'three'], ['eggs', 'four']]) await publish(`bought/${what}`, count, { qos: 1 });
    const page = await visit(browser, 'links');
    await page.getByRole('button', { name: '3 dead letters' }).click({ timeout: 30_000 });
    const dialog = page.getByRole('dialog');
    await dialog.getByText('bought/milk').waitFor();
    must((await dialog.textContent()).includes('422'), `why it was refused: ${await dialog.textContent()}`);
    const tries = (what) => refused.filter((body) => what.test(body)).length;
    const [before, left] = [tries(/two|three/), tries(/four/)];
    const overview = await visit(browser, 'overview');
    await overview.getByRole('row').filter({ hasText: 'hook' }).waitFor();
    for (const part of ['Messages per second', 'Bytes per second', 'Clients and sessions', 'CPU', 'Memory', 'Queued messages', 'Dropped and refused', 'On disk', 'Listeners', 'Retained', 'Subscriptions']) {
      must((await overview.locator('main').textContent()).includes(part), `the overview lacks ${part}`);
    }
    const some = dialog.getByRole('button', { name: /^Try \d+ again$/ });
    must(await some.isDisabled(), 'none can be tried again');
    // What is still refused comes back, and others are left alone.
    for (const what of ['milk', 'bread']) await dialog.getByLabel(`Choose bought/${what}`).check();
    await dialog.getByRole('button', { name: 'Try 2 again' }).click();
    await until('they were tried', () => tries(/two|three/) >= before + 2);
    await until('they are back', async () => (await api('GET', 'sinks')).items[0].dead_letters === 3);
    must(tries(/four/) === left, 'one that was not chosen is tried, too');
    refuse = false;
    await visit(browser, 'links', { page });
    await page.reload();
    await page.getByRole('button', { name: '3 dead letters' }).click();
    await dialog.getByLabel('Choose bought/eggs').check();
    await dialog.getByRole('button', { name: 'Try 1 again' }).click();
    await until('the chosen one is saved', () => saved.some((body) => body.includes('four')));
    await until('two are left', async () => (await dialog.getByRole('checkbox').count()) === 2);
    must(saved.every((body) => !/two|three/.test(body)), 'others are saved, too');
    await dialog.getByRole('button', { name: 'Try all again' }).click();
    await until('it is saved', () => saved.some((body) => body.includes('two')));
    await until('no letter is left', async () => (await api('GET', 'sinks')).items[0].dead_letters === 0);
    await leave(overview);
    await leave(page);
    await api('DELETE', 'sinks/hook');
    server.close();
  }],

  ['the log is live', async (browser) => {
    const page = await visit(browser, 'log');
    await page.waitForTimeout(1500);
    const { stream } = await client('seen-in-the-log');
    await page.getByText('seen-in-the-log').first().waitFor();
    stream.destroy();
    await leave(page);
  }],

  ['a value of the configuration names its file and line, or its flag', async (browser) => {
    const page = await visit(browser, 'config');
    const line = page.getByRole('row').filter({ hasText: 'data_dir' });
    await line.waitFor();
    must(/cork\.toml:1$/.test((await line.locator('.badge').textContent()).trim()), await line.textContent());
    must((await page.locator('.badge', { hasText: /^default$/ }).count()) > 20, 'defaults are not named');
    const flag = page.getByRole('row').filter({ hasText: /durability/ }).first();
    must((await flag.locator('.badge').textContent()).trim() === '--durability', await flag.textContent());
    await leave(page);
  }],
]);
