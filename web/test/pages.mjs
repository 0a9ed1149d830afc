// The pages of a broker without users, with `cork sim` publishing to it.
import { accessible, api, leave, must, publish, run, until, visit } from './harness.mjs';
import { readFileSync } from 'node:fs';
import { looks } from './looks.mjs';

const text = (page, selector) => page.locator(selector).first().textContent();

await run([
  ['every page is there, accessible, light and dark, and on a phone', async (browser) => {
    const names = ['overview', 'topics', 'topics?t=sensors%2Fkitchen%2Ftemperature', 'boards', 'clients', 'links', 'filters', 'access', 'log', 'config'];
    for (const look of [{}, { dark: true }, { phone: true }]) {
      for (const name of names) {
        const page = await visit(browser, name, look);
        await page.locator('main :visible').first().waitFor();
        await page.waitForTimeout(700);
        await accessible(page, `${name} ${JSON.stringify(look)}`);
        if (look.phone) await page.setViewportSize({ width: 360, height: 740 });
        if (!look.dark) await looks(page, `${name} ${JSON.stringify(look)}`);
        await leave(page);
      }
    }
  }],

  ['who comes by the Tab key sees where it is', async (browser) => {
    for (const name of ['overview', 'topics', 'clients', 'filters']) {
      const page = await visit(browser, name);
      await page.waitForTimeout(700);
      const unseen = new Set();
      for (let stop = 0; stop < 40; stop += 1) {
        await page.keyboard.press('Tab');
        const blank = await page.evaluate(() => {
          const [at, style] = [document.activeElement, getComputedStyle(document.activeElement)];
          const ring = (style.outlineStyle !== 'none' && Number.parseFloat(style.outlineWidth) >= 1) || style.boxShadow !== 'none';
          return at === document.body || ring ? null : at.outerHTML.slice(0, 120);
        });
        if (blank !== null) unseen.add(blank);
      }
      must(unseen.size === 0, `${name}: no ring around ${[...unseen].join(', ')}`);
      await leave(page);
    }
  }],

  ['the overview shows rates and its charts are drawn', async (browser) => {
    const page = await visit(browser, 'overview');
    await until('messages come in', async () => !/^0\/s$/.test((await text(page, '.stat .value, .stats strong, .stats .strong')) ?? '0/s'));
    must(await page.locator('.plot canvas').count() >= 4, 'there are too few charts');
    await leave(page);
  }],

  ['a topic shows what was published, what changed, and its properties', async (browser) => {
    const page = await visit(browser, `topics?t=${encodeURIComponent('lab/bench')}`);
    await page.waitForTimeout(800);
    await publish('lab/bench', '{"temperature": 21.5, "state": "ok"}', { properties: { content_type: 'application/json', user: [['site', 'north']] } });
    const payload = page.locator('[data-test=payload]');
    await until('the payload', async () => (await payload.count()) > 0 && (await payload.textContent()).includes('"temperature": 21.5'));
    must((await page.locator('.facts').textContent()).includes('north'), 'the user property is missing');
    await publish('lab/bench', '{"temperature": 22.5, "state": "ok"}');
    await until('the second one', async () => (await payload.textContent()).includes('22.5'));
    await page.getByRole('button', { name: 'Changes' }).click();
    const changes = await page.getByLabel('What changed').textContent();
    must(changes.includes('− ') && changes.includes('21.5') && changes.includes('+ ') && changes.includes('22.5'), changes);
    must(await page.locator('.fields canvas').count() === 1, 'the number has no chart');
    await publish('lab/bench', '<img src=x onerror=alert(1)>');
    await page.getByRole('button', { name: 'Payload', exact: true }).click();
    await until('markup as text', async () => (await payload.textContent()).includes('<img src=x'));
    await leave(page);
  }],

  ['the tree finds topics by text, by filter and by content', async (browser) => {
    for (const [topic, value] of [['house/attic/temperature', 31], ['house/cellar/temperature', 12], ['house/attic/door', 'open']]) {
      await publish(topic, value, { retain: true, qos: 1 });
    }
    const page = await visit(browser, 'topics');
    const line = (topic) => page.locator(`[data-topic="${topic}"]`);
    await page.getByLabel('Search topics').fill('house/+/temperature');
    await line('house/cellar/temperature').waitFor();
    await until('only what fits', async () => (await line('house/attic/door').count()) === 0);
    must((await line('house/attic/temperature').textContent()).includes('31'), 'the value is missing');
    await page.getByLabel('Search topics').fill('attic');
    await line('house/attic/door').waitFor();
    await page.getByLabel('Search topics').fill('');
    await page.getByRole('button', { name: 'Filter by content' }).click();
    await page.getByLabel('Condition on the content').fill('number > 30 && topic[0] == "house"');
    await page.getByRole('button', { name: 'Apply' }).click();
    await page.getByLabel('Search topics').fill('house');
    await until('the condition keeps 12 back', async () => (await line('house/cellar/temperature').count()) === 0);
    await line('house/attic/temperature').waitFor();
    await leave(page);
  }],

  ['retained messages are published, seen, and cleared; a subtree after it was typed', async (browser) => {
    const page = await visit(browser, `topics?t=${encodeURIComponent('keep/one')}`);
    await page.getByLabel('Payload', { exact: true }).last().fill('17');
    await page.getByLabel('Retain').check();
    await page.getByRole('button', { name: 'Publish' }).click();
    await until('it is kept', async () => (await api('GET', 'retained?filter=keep/one')).items[0]?.payload === '17');
    await page.getByText('Retained since').waitFor();
    await page.getByRole('button', { name: 'Clear' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Clear' }).click();
    await until('it is cleared', async () => (await api('GET', 'retained?filter=keep/one')).items.length === 0);
    await publish('keep/a/1', 1, { retain: true, qos: 1 });
    await publish('keep/a/2', 2, { retain: true, qos: 1 });
    await visit(browser, `topics?t=${encodeURIComponent('keep/a')}`, { page });
    await page.locator('[data-topic="keep/a"]').waitFor();
    await page.getByRole('button', { name: 'Clear' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByRole('button', { name: 'Everything at and below it' }).click();
    must(await dialog.getByRole('button', { name: 'Clear' }).isDisabled(), 'it does not wait for the confirmation');
    await dialog.getByLabel(/to confirm/).fill('keep/a');
    await dialog.getByRole('button', { name: 'Clear' }).click();
    await until('all are cleared', async () => (await api('GET', 'retained?filter=keep/%23')).items.length === 0);
    await leave(page);
  }],

  ['a client is found, traced, kicked', async (browser) => {
    const found = await until('the simulated client', async () => (await api('GET', 'clients')).items.find((item) => !item.client_id.startsWith('$')));
    const page = await visit(browser, 'clients');
    await page.getByRole('link', { name: found.client_id }).first().waitFor();
    await visit(browser, `clients/trace?client=${encodeURIComponent(found.client_id)}`, { page });
    await page.locator('td .badge', { hasText: 'PUBLISH' }).first().waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Download' }).click()]);
    const packets = readFileSync(await download.path(), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    must(packets.some(({ packet, client_id: id }) => packet === 'PUBLISH' && id === found.client_id), 'the download lacks the packets');
    const { connected } = (await api('GET', `sessions/${encodeURIComponent(found.client_id)}`)).connection;
    await visit(browser, `clients/client/${encodeURIComponent(found.client_id)}`, { page });
    await page.getByRole('button', { name: 'Kick' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Kick' }).click();
    await until('it was disconnected', async () => {
      const answer = await fetch(`${process.env.CORK_HTTP}/api/v1/sessions/${encodeURIComponent(found.client_id)}`);
      return answer.status === 404 || (await answer.json()).connection?.connected !== connected;
    });
    await leave(page, /404/);
  }],

  ['a topic is traced over all clients', async (browser) => {
    const page = await visit(browser, 'clients/trace?topic=traced%2F%23');
    await page.waitForTimeout(700);
    await publish('traced/here', 'yes');
    await page.locator('td .badge', { hasText: 'PUBLISH' }).first().waitFor();
    await leave(page);
  }],

  ['an expression is tried, its fault is pointed at, and a named filter is kept', async (browser) => {
    const page = await visit(browser, 'filters');
    const when = page.getByLabel('that fulfil');
    await when.fill('payload.temperature > 25');
    await until('the verdict', async () => (await page.locator('[data-test=verdict]').count()) > 0 && (await text(page, '[data-test=verdict]')) === 'passes');
    await when.fill('payload.temperature >');
    await page.getByRole('alert').waitFor();
    await when.fill('number > 40');
    await page.getByLabel('Messages on').fill('tried/#');
    await page.getByRole('button', { name: 'Watch live messages' }).click();
    await page.waitForTimeout(700);
    await publish('tried/a', 39);
    await publish('tried/b', 41);
    await page.getByText('tried/b').waitFor();
    must((await page.getByText('tried/a').count()) === 0, '39 passed');
    await page.getByRole('button', { name: 'Add' }).click();
    await page.getByLabel('Name').fill('hot');
    await page.getByLabel('Condition').fill('number > 40');
    await page.getByRole('button', { name: 'Save' }).click();
    await until('it is kept', async () => (await api('GET', 'filters')).items.some(({ name }) => name === 'hot'));
    await page.getByRole('button', { name: 'Remove hot' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await until('it is gone', async () => (await api('GET', 'filters')).items.length === 0);
    await leave(page, /422/);
  }],

  ['a sink is added, works, and is removed', async (browser) => {
    const page = await visit(browser, 'links');
    await page.getByRole('button', { name: 'Add a sink' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('Name').fill('readings');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByText('working').waitFor();
    // Looking again changes what is there; it does not make it anew under the hand.
    const made = await page.evaluate(() => new Promise((done) => {
      let count = 0;
      new MutationObserver((all) => { count += all.flatMap(({ addedNodes }) => [...addedNodes]).filter(({ nodeName }) => nodeName === 'DIV' || nodeName === 'TR').length; })
        .observe(document.querySelector('[data-test=sinks]'), { childList: true, subtree: true });
      setTimeout(() => done(count), 3000);
    }));
    must(made <= 1, `${made} parts of the list were made anew in 3 s`);
    await page.getByRole('button', { name: 'Remove readings' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Remove' }).click();
    await until('it is gone', async () => (await api('GET', 'sinks')).items.length === 0);
    await leave(page);
  }],

  ['a ban is made and lifted, and the rules explain themselves', async (browser) => {
    const page = await visit(browser, 'access/bans');
    await page.getByRole('button', { name: 'Ban somebody' }).click();
    await page.getByRole('dialog').getByRole('textbox', { name: 'Client identifier' }).fill('rogue');
    await page.getByRole('button', { name: 'Ban', exact: true }).click();
    await page.getByText('rogue').first().waitFor();
    await page.getByRole('button', { name: 'Let in again' }).click();
    await page.getByText('Nobody is banned').waitFor();
    await visit(browser, 'access/explain', { page });
    await page.getByLabel('Client identifier').fill('c');
    await page.getByLabel('Topic, or filter').fill('a/b');
    await page.getByRole('button', { name: 'May it?' }).click();
    await page.locator('[data-test=answer]').waitFor();
    await leave(page);
  }],

  ['the log is live, and the configuration says where each value comes from', async (browser) => {
    const page = await visit(browser, 'log');
    await page.locator('td .badge').first().waitFor();
    await visit(browser, 'config', { page });
    await page.getByText('data_dir').first().waitFor();
    await page.getByLabel('Without defaults').check();
    must(!(await page.locator('main').textContent()).includes('queue_max_bytes1GiB'), 'a default is shown');
    await leave(page);
  }],
]);
