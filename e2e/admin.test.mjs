// The page of ops/admin in Chromium: what it shows, what one can do with it, and that what peers say stays text.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {changeToken, Operator, readToken, serve, start, stop, tokens} from './lib/admin.mjs';
import {browse} from './lib/browser.mjs';
import {Peer} from './lib/peer.mjs';
import {freePort} from './lib/port.mjs';

const timeout = 180_000;
const hostile = '<img src=x onerror="globalThis.harmed=1"><script>globalThis.harmed=1</script>&lt;b&gt;';

// The program calls a connection by its User-Agent.
const peer = (server, name) => Peer.open(server.echo, {headers: {'User-Agent': name}, perMessageDeflate: false});

// A member of the hub, by this name and in this channel.
async function member(server, name, channel) {
  const one = await Peer.open(server.hub);
  one.ws.send(JSON.stringify({name, channel}));
  assert.equal((await one.next()).data, 'joined: <nil>');
  return one;
}

const unharmed = async (window) => assert.equal(await window.page.evaluate(() => globalThis.harmed), undefined, 'a script of a peer has run');

test('the overview says how the program is', {timeout}, async (t) => {
  const server = await serve(t);
  const admin = await Operator.open(await browse(t), server.port);
  await admin.drawn('overview');
  assert.match(await admin.at('state').textContent(), /Live and ready/);
  assert.ok(await admin.at('loops').locator('tbody tr').count() > 0);
  const listener = admin.at('listeners').locator('tbody tr').filter({hasText: server.echo});
  assert.match(await listener.textContent(), /0/);
  const ada = await peer(server, 'Ada');
  ada.ws.send('hello');
  assert.equal((await ada.next()).data, 'hello');
  await admin.at('tile-open').getByText('1', {exact: true}).waitFor();
  await admin.fact('totals', 'Messages in').getByText('1', {exact: true}).waitFor();
  await admin.go('config');
  await admin.at('setting').fill('MessageBytesMax');
  await admin.at('groups').locator('td', {hasText: 'MessageBytesMax'}).first().waitFor();
  await admin.at('setting').fill('no such setting');
  await admin.at('config-empty').waitFor();
  ada.ws.terminate();
  admin.quiet();
});

test('a connection is found, watched, paused and closed', {timeout}, async (t) => {
  const server = await serve(t);
  const [ada, bob] = [await peer(server, 'Ada'), await peer(server, 'Bob')];
  const admin = await Operator.open(await browse(t), server.port, {view: 'connections'});
  await admin.drawn('connections');
  await admin.row('Bob').waitFor();
  await admin.at('q').fill('ada');
  await admin.at('found').getByText('1 of 2 connections').waitFor();
  assert.equal(await admin.row('Bob').count(), 0);
  await admin.row('Ada').getByTestId('open').click();
  await admin.drawn('connection');
  assert.equal(await admin.fact('who', 'User').textContent(), 'Ada');

  await admin.at('tail-toggle').click();
  await admin.at('tail-state').getByText('Live: 0 frames').waitFor();
  ada.ws.send('a secret');
  assert.equal((await ada.next()).data, 'a secret');
  await admin.at('frames').locator('[data-way="out"][data-opcode="text"]').getByText('8 B', {exact: true}).waitFor();
  await admin.at('frames').locator('[data-way="in"][data-opcode="text"]').getByText('8 B', {exact: true}).waitFor();
  assert.equal(await admin.at('frames').getByText('a secret').count(), 0, 'a payload is shown that nobody asked for');
  await admin.at('tail-payload').check();
  await admin.at('tail-state').getByText('Live: 2 frames').waitFor();
  ada.ws.send(hostile);
  await ada.next();
  await admin.at('payload').getByText(hostile, {exact: true}).first().waitFor();
  ada.ws.ping('x');
  await ada.next();
  await admin.at('frames').locator('[data-way="in"][data-opcode="ping"]').waitFor();

  await admin.at('pause').click();
  await admin.at('chips').getByText('paused: operator').waitFor();
  ada.ws.send('held back');
  bob.ws.send('not held back');
  assert.equal((await bob.next()).data, 'not held back');
  assert.equal(await admin.at('frames').locator('[data-way="in"]').getByText('9 B', {exact: true}).count(), 0);
  await admin.at('pause').getByText('Resume reading').click();
  assert.equal((await ada.next()).data, 'held back');
  await admin.at('chips').getByText('paused: operator').waitFor({state: 'detached'});

  await admin.at('close').click();
  await admin.at('close-not').click(); // asks before, and nothing happens
  await admin.at('close').click();
  await admin.at('code').fill('4001');
  await admin.at('reason').fill('é'.repeat(62)); // 124 bytes
  await admin.at('close-yes').click();
  await admin.at('close-error').getByText('at most').waitFor();
  await admin.at('reason').fill('asked to go');
  await admin.at('close-yes').click();
  assert.deepEqual(await ada.next(), {type: 'close', code: 4001, reason: 'asked to go'});
  await admin.at('ended').waitFor();
  assert.equal(await admin.at('close').isDisabled(), true);
  await admin.at('tail-state').getByText('Ended').waitFor();
  bob.ws.send('still here');
  assert.equal((await bob.next()).data, 'still here');
  bob.ws.terminate();
  await unharmed(admin);
  admin.quietButForOutages(); // it asked for a connection that had ended
});

test('what peers say is text, wherever it is shown', {timeout}, async (t) => {
  const server = await serve(t);
  const name = `Eve ${hostile}`;
  const evil = await peer(server, name);
  const mallory = `Mallory ${hostile}`;
  const one = await member(server, mallory, `room-${hostile}`);
  const admin = await Operator.open(await browse(t), server.port, {view: 'connections'});
  await admin.drawn('connections');
  await admin.row(name).getByTestId('open').click();
  await admin.drawn('connection');
  assert.equal(await admin.fact('who', 'User').textContent(), name);
  await admin.at('close').click();
  await admin.at('close-dialog').getByText(name).waitFor();
  await admin.at('close-not').click();
  await admin.go('channels');
  await admin.at('names-list').getByText(`room-${hostile}`, {exact: true}).waitFor();
  await admin.go('users');
  await admin.at('names-list').getByText(mallory, {exact: true}).click();
  await admin.drawn('connections');
  await admin.at('found').getByText('1 of 2 connections').waitFor();
  assert.equal(await admin.page.locator('main img, main script, main b').evaluateAll((list) => list.filter((e) => !e.closest('#tiles, #health')).length), 0);
  await unharmed(admin);
  admin.quiet();
  for (const each of [evil, one]) each.ws.terminate();
});

test('a token is asked for, and the one for reading changes nothing', {timeout}, async (t) => {
  const server = await serve(t, ...tokens);
  const ada = await peer(server, 'Ada');
  const admin = await Operator.open(await browse(t), server.port, {view: 'connections'});
  await admin.at('sign-dialog').waitFor();
  assert.equal(await admin.at('list').locator('tbody tr').count(), 0);
  await admin.signIn('e2e-token-of-nobody');
  await admin.at('sign-error').getByText('does not know this token').waitFor();
  await admin.signIn(readToken);
  await admin.row('Ada').getByTestId('open').click();
  await admin.drawn('connection');
  await admin.at('no-change').getByText('You may only look').waitFor();
  for (const id of ['pause', 'close', 'tail-payload']) assert.equal(await admin.at(id).isDisabled(), true, id);
  await admin.at('tail-toggle').click();
  await admin.at('tail-state').getByText('Live').waitFor();
  await admin.at('sign').click();
  await admin.signIn(changeToken);
  await admin.page.locator('[data-testid="close"]:enabled').waitFor();
  assert.equal(await admin.at('no-change').textContent(), '');
  assert.equal(await admin.page.evaluate((secret) => document.cookie.includes(secret) || JSON.stringify({...localStorage, ...sessionStorage}).includes(secret), changeToken), false);
  ada.ws.terminate();
  assert.deepEqual(admin.complaints.filter((text) => !/ 401 /.test(text)), []);
});

test('the server goes away, and the page says so until it is back', {timeout}, async (t) => {
  const port = await freePort();
  const first = await start(port);
  const admin = await Operator.open(await browse(t), port);
  await admin.drawn('overview');
  await stop(first);
  await admin.at('banner').getByText('does not answer').waitFor();
  await admin.at('state').getByText('No answer').waitFor();
  const second = await start(port);
  t.after(() => stop(second));
  await admin.at('again').click();
  await admin.at('banner').waitFor({state: 'hidden'});
  await admin.at('announce').getByText('answers again').waitFor({state: 'attached'});
  admin.quietButForOutages();
});

test('all can be done by keyboard, and everything has a name', {timeout}, async (t) => {
  const server = await serve(t, '-admin.simulated', '500');
  const admin = await Operator.open(await browse(t), server.port);
  await admin.drawn('overview');
  const focused = () => admin.page.evaluate(() => document.activeElement.textContent.trim() || document.activeElement.id);
  await admin.page.keyboard.press('Tab');
  assert.equal(await focused(), 'Go to the content');
  const until = async (text) => {
    for (let i = 0; i < 60; i++) {
      await admin.page.keyboard.press('Tab');
      if (await focused() === text) return;
    }
    assert.fail(`60 times Tab do not lead to ${text}`);
  };
  await until('Connections');
  await admin.page.keyboard.press('Enter');
  await admin.drawn('connections');
  await until('Out');
  await admin.page.keyboard.press('Enter');
  await admin.at('list').locator('th[aria-sort="descending"]').getByText('Out', {exact: true}).waitFor();
  await admin.page.keyboard.press('Enter');
  await admin.at('list').locator('th[aria-sort="ascending"]').getByText('Out', {exact: true}).waitFor();
  await admin.refreshed();
  assert.equal(await focused(), 'Out', 'an update took the focus away');

  await admin.at('list').getByTestId('open').first().press('Enter');
  await admin.drawn('connection');
  await admin.at('close').press('Enter');
  await admin.page.keyboard.press('Escape');
  await admin.at('close-dialog').waitFor({state: 'hidden'});
  for (const view of ['overview', 'connections', 'connection/1', 'channels', 'users', 'config']) {
    await admin.go(view);
    const nameless = await admin.page.evaluate(() => [...document.querySelectorAll('button, a[href], input, select, table, nav, dialog, [role]')]
      .filter((e) => e.checkVisibility() && !['rowgroup', 'row', 'cell', 'columnheader', 'status', 'alert'].includes(e.getAttribute('role')))
      .filter((e) => !(e.getAttribute('aria-label') || e.textContent.trim() && !['SELECT', 'TABLE', 'FORM'].includes(e.tagName) || e.labels?.length
        || document.getElementById(e.getAttribute('aria-labelledby'))?.textContent || e.closest('form')?.querySelector('label')))
      .map((e) => e.outerHTML.slice(0, 120)));
    assert.deepEqual(nameless, [], `${view}: nobody can say what these are`);
  }
  admin.quiet();
});
