// examples/arena in Chromium, when the connection, the server or the page goes
// away.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {alone, Player} from './lib/arena.mjs';
import {browse} from './lib/browser.mjs';
import {end} from './lib/process.mjs';
import {Proxy} from './lib/proxy.mjs';
import {serve, start, stop} from './lib/server.mjs';

const timeout = 120_000;

test('a cut connection: back into the same cell', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const proxy = await Proxy.before(t, server.port);
  const browser = await browse(t);
  const ada = await Player.open(browser, proxy.port);
  const bob = await Player.open(browser, server.port);
  await bob.join('Bob');
  const {mass} = await ada.join('Ada');
  const before = await ada.graze(mass + 2);

  proxy.down();
  await ada.state('reconnecting');
  await ada.at('banner-text').getByText(/Reconnecting in \d+\ss\s…/).waitFor();
  await ada.at('announce').getByText('Connection lost.').waitFor();
  await ada.at('reconnect').click();
  await ada.state('reconnecting'); // still nobody there
  await proxy.up();
  const after = await ada.alive();
  await ada.at('banner').waitFor({state: 'hidden'});
  assert.equal(after.resumed, true);
  assert.equal(after.player, before.player);
  const back = await ada.until('the cell', (me) => me.cells === 1);
  assert.ok(Math.abs(back.mass - before.mass) < 2, `${before.mass} → ${back.mass}`);
  assert.ok(Math.hypot(back.x - before.x, back.y - before.y) < 300, 'where it was'); // it went on until the server noticed
  await ada.page.waitForFunction(() => document.body.dataset.players === '2'); // the board comes once a second

  await ada.page.reload(); // no dialog: the token is in this tab
  const reloaded = await ada.alive();
  assert.deepEqual([reloaded.player, reloaded.resumed], [before.player, true]);
  assert.equal(await ada.page.evaluate(() => location.pathname + location.search + location.hash), '/');
  const sign = reloaded.x < 1500 ? 'd' : 'a';
  await ada.page.keyboard.down(sign);
  await ada.until('it to obey', (me) => Math.abs(me.x - reloaded.x) > 40);
  ada.quietButForOutages();
  bob.quiet();
});

test('a server that is killed and comes back', {timeout}, async (t) => {
  const first = await start('arena', 0, alone);
  t.after(() => end(first.process));
  const ada = await Player.open(await browse(t), first.port);
  await ada.join('Ada');
  await end(first.process, 'SIGKILL');
  await ada.state('reconnecting');
  const second = await start('arena', first.port, alone);
  t.after(() => second.stopped || stop(second));
  const after = await ada.alive(); // by itself: the old cell is unknown there, so it is a new one
  assert.equal(after.resumed, false);
  await ada.at('leader', '[data-name="Ada"]').waitFor();
  ada.quietButForOutages();

  const stopped = stop(second); // a server that ends in good order says 1001
  await ada.state('reconnecting');
  await stopped;
});

test('another tab takes over; leaving forgets', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port);
  const {player} = await ada.join('Ada');
  const [tab] = await Promise.all([ // window.open copies the storage of the tab
    ada.page.waitForEvent('popup'), ada.page.evaluate(() => { open('/'); }),
  ]);
  await tab.waitForFunction((id) => document.body.dataset.player === String(id), player);
  await ada.state('replaced');
  await ada.at('banner').waitFor();
  await ada.at('reconnect').getByText('Play here').click();
  await ada.alive();
  await tab.waitForFunction(() => document.body.dataset.state === 'replaced');

  await ada.at('leave').click();
  await ada.at('join-dialog').waitFor();
  assert.equal(await ada.at('name').inputValue(), 'Ada');
  await ada.page.reload();
  await ada.at('join-dialog').waitFor();
  assert.notEqual((await ada.join('Ada')).player, player);
  ada.quiet();
});

test('what the page cannot read costs it the connection, not the game', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port);
  let toPage;
  await ada.page.routeWebSocket('**/play', (page) => {
    toPage = page;
    page.connectToServer();
  });
  const {player} = await ada.join('Ada');
  for (const bad of [[130, 0, 1], [77], [130, 0, ...new Array(26).fill(0), 1, 1, 0]]) {
    const spoilt = toPage;
    spoilt.send(Buffer.from(bad));
    await ada.page.waitForFunction(() => document.body.dataset.state !== 'connected');
    const after = await ada.alive();
    assert.deepEqual([after.player, after.resumed], [player, true]);
    assert.notEqual(toPage, spoilt);
  }
  assert.equal(ada.complaints.filter((text) => text.startsWith('arena: ')).length, 3);
});
