// A broker with users: an administrator (ADMIN), a viewer (VIEWER) that may read `public/#` and write `lamp/set`, one
// PASSWORD.
import { accessible, leave, must, run, until, visit } from './harness.mjs';

const { ADMIN, VIEWER, PASSWORD } = process.env;
const login = (user, password = PASSWORD) => ({ user, password });

await run([
  ['a wrong password is refused, and nothing is shown without a login', async (browser) => {
    const page = await browser.newPage();
    await page.goto(`${process.env.CORK_HTTP}/#/clients`);
    await page.getByLabel('User').fill(ADMIN);
    await page.getByLabel('Password').fill('wrong');
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.getByRole('alert').waitFor();
    must((await page.locator('nav').count()) === 0, 'pages are shown without a login');
    await page.context().close();
  }],

  ['an administrator adds a user and a rule, and the rule is told by name', async (browser) => {
    const page = await visit(browser, 'access/users', login(ADMIN));
    await page.getByRole('button', { name: 'Add a user' }).click();
    const dialog = page.getByRole('dialog');
    await dialog.getByLabel('User name').fill('eve');
    await dialog.getByLabel('Password').fill('a long one');
    await dialog.getByLabel(/^Groups/).fill('viewer');
    await accessible(page, 'the dialog of a user');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.locator('td', { hasText: 'eve' }).first().waitFor();
    await visit(browser, 'access/rules', { page });
    await page.getByRole('button', { name: 'Add a rule' }).click();
    await page.getByLabel('Who').selectOption('user');
    await page.getByLabel('Name of the user').fill('eve');
    await page.getByLabel('Topic filter').fill('attic/#');
    await page.getByRole('button', { name: 'Save' }).click();
    await page.getByText('The rules hold now').waitFor();
    await visit(browser, 'access/explain', { page });
    const ask = async (topic) => {
      await page.getByLabel('Client identifier').fill('c');
      await page.getByLabel('User (empty: anonymous)').fill('eve');
      await page.getByLabel('Topic, or filter').fill(topic);
      await page.getByRole('button', { name: 'May it?' }).click();
      return (await page.locator('[data-test=answer]').textContent()).trim();
    };
    await until('eve may read the attic', async () => (await ask('attic/x')).startsWith('yes'));
    const said = await ask('attic/x');
    must(/managed\.toml/.test(said), `it does not say which rule: ${said}`);
    await until('and not the cellar', async () => (await ask('cellar/x')).startsWith('no'));
    await visit(browser, 'access/users', { page });
    await page.getByRole('button', { name: 'Change eve' }).click();
    await dialog.getByLabel(/^Groups/).fill('viewer, gardeners');
    await dialog.getByRole('button', { name: 'Save' }).click();
    await page.getByRole('row').filter({ hasText: 'gardeners' }).waitFor();
    await page.getByRole('button', { name: 'Remove eve' }).click();
    await dialog.getByRole('button', { name: 'Remove' }).click();
    await until('eve is gone', async () => (await page.getByRole('row').filter({ hasText: 'eve' }).count()) === 0);
    await leave(page, /401/);
  }],

  ['users whose names a browser takes for steps of a path are changed and removed', async (browser) => {
    const page = await visit(browser, 'access/users', login(ADMIN));
    const dialog = page.getByRole('dialog');
    const button = (name) => page.getByRole('button', { name, exact: true });
    for (const name of ['.', '..', '../..', 'a/b']) {
      await button('Add a user').click();
      await dialog.getByLabel('User name').fill(name);
      await dialog.getByLabel('Password').fill('a long one');
      await dialog.getByRole('button', { name: 'Save' }).click();
      await button(`Change ${name}`).click();
      await dialog.getByLabel(/^Groups/).fill('gardeners');
      await dialog.getByRole('button', { name: 'Save' }).click();
      await page.getByRole('row').filter({ hasText: 'gardeners' }).waitFor();
      await button(`Remove ${name}`).click();
      await dialog.getByRole('button', { name: 'Remove' }).click();
      await until(`${name} is gone`, async () => (await button(`Remove ${name}`).count()) === 0);
    }
    await leave(page, /401/);
  }],

  ['a viewer sees no controls of an administrator, and only what it may read', async (browser) => {
    const page = await visit(browser, 'overview', login(VIEWER));
    const names = await page.locator('.side nav a').allTextContents();
    for (const hidden of ['Access', 'Log', 'Configuration']) must(!names.includes(hidden), `${hidden} is offered to a viewer`);
    await visit(browser, 'clients', { page });
    must((await page.getByRole('link', { name: 'Trace' }).count()) === 0, 'a viewer is offered traces');
    await visit(browser, `topics?t=${encodeURIComponent('public/x')}`, { page });
    await page.getByRole('textbox', { name: 'Topic', exact: true }).fill('secret/x');
    await page.getByLabel('Payload', { exact: true }).last().fill('1');
    await page.getByRole('button', { name: 'Publish' }).click();
    await page.locator('.toast, [role=alert], [role=status]').filter({ hasText: /not|denied|may/i }).first().waitFor();
    const answer = await page.evaluate(async () => (await fetch('api/v1/users')).status);
    must(answer === 403, `GET users answers a viewer ${answer}`);
    await leave(page, /40[13]/);
  }],

  ['a viewer sees of all topics those it may read', async (browser) => {
    const admin = await visit(browser, 'topics', login(ADMIN));
    const viewer = await visit(browser, 'topics', login(VIEWER));
    const shown = (page) => page.getByRole('tree').textContent();
    await viewer.getByText('No messages yet that you may read').waitFor();
    await admin.getByRole('textbox', { name: 'Topic', exact: true }).count();
    const publish = (topic) => admin.evaluate(async (body) => {
      const { csrf } = await (await fetch('api/v1/session')).json();
      const headers = { 'Content-Type': 'application/json', 'X-Csrf-Token': csrf };
      return (await fetch('api/v1/publish', { method: 'POST', headers, body: JSON.stringify(body) })).status;
    }, { topic, payload: '21.5', retain: true });
    for (const topic of ['public/attic', 'secret/cellar']) must(await publish(topic) === 200, `${topic} is not published`);
    await until('the administrator sees both', async () => /public[\s\S]*secret/.test(await shown(admin)));
    await until('the viewer sees its own', async () => /attic/.test(await shown(viewer)));
    must(!/secret|cellar/.test(await shown(viewer)), 'the viewer sees what it may not');
    await viewer.getByText('no sampling of what you may read').waitFor();
    await viewer.getByRole('button', { name: 'Filter by content' }).click();
    await viewer.getByLabel('Condition on the content').fill('payload > 20');
    await viewer.getByRole('button', { name: 'Apply' }).click();
    await viewer.getByText('attic').first().waitFor();
    must((await viewer.getByRole('alert').count()) === 0, 'a condition on the content is refused');
    for (const page of [admin, viewer]) await leave(page, /401/);
  }],

  ['logging out ends it', async (browser) => {
    const page = await visit(browser, 'overview', login(ADMIN));
    await page.getByRole('button', { name: 'Log out' }).first().click();
    await page.getByLabel('Password').waitFor();
    const answer = await page.evaluate(async () => (await fetch('api/v1/overview')).status);
    must(answer === 401, `after the log-out the API answers ${answer}`);
    await leave(page, /401/);
  }],
]);
