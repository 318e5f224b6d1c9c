// examples/chat in Chromium: two people and their windows.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {browse, Window} from './lib/browser.mjs';
import {end} from './lib/process.mjs';
import {Proxy} from './lib/proxy.mjs';
import {serve, start, stop} from './lib/server.mjs';

const timeout = 90_000;

// Ada and Bob in one room. Ada comes through port, if given.
async function two(t, server, port = server.port) {
  const browser = await browse(t);
  const ada = await Window.open(browser, port);
  const bob = await Window.open(browser, server.port);
  await ada.join('Ada');
  await bob.join('Bob');
  await ada.at('member', '[data-nick="Bob"]').waitFor();
  return [ada, bob];
}

test('two windows talk both ways', {timeout}, async (t) => {
  const [ada, bob] = await two(t, await serve(t, 'chat'));
  for (const window of [ada, bob]) {
    const names = await window.at('member').evaluateAll((list) => list.map((li) => li.dataset.nick).sort());
    assert.deepEqual(names, ['Ada', 'Bob']);
    assert.equal((await window.at('member-count').textContent()).trim(), '2');
  }

  await bob.at('composer').pressSequentially('hel');
  await ada.at('typing').getByText('Bob is typing…').waitFor();
  await bob.say('hello Ada');
  await ada.shows('hello Ada');
  await ada.page.waitForFunction(() => document.querySelector('[data-testid="typing"]').textContent === '');
  await ada.say('hello Bob');
  await bob.shows('hello Ada', 'hello Bob');
  await ada.at('message', '[data-own="true"][data-status="delivered"]').waitFor();
  await ada.shows('hello Ada', 'hello Bob');

  const markup = '<img src=x onerror=alert(1)> & "quotes" é€𝄞';
  await bob.say(markup);
  await ada.shows('hello Ada', 'hello Bob', markup);

  await bob.at('leave').click();
  await ada.at('note', '[data-kind="leave"]').getByText('Bob left').waitFor();
  await ada.at('member', '[data-nick="Bob"]').waitFor({state: 'detached'});
  ada.quiet();
  bob.quiet();
});

test('a name in use is refused, another room does not listen in', {timeout}, async (t) => {
  const server = await serve(t, 'chat');
  const browser = await browse(t);
  const ada = await Window.open(browser, server.port);
  await ada.join('Ada');
  const second = await Window.open(browser, server.port);
  await second.at('nick').fill('Ada');
  await second.at('join').click();
  await second.at('join-error').getByText('taken').waitFor();

  const elsewhere = await Window.open(browser, server.port, {room: 'elsewhere'});
  await elsewhere.join('Ada');
  await elsewhere.say('only here');
  await elsewhere.at('message', '[data-status="delivered"]').waitFor();
  await second.join('Bob');
  await second.say('only in the lobby');
  await ada.shows('only in the lobby');
  await elsewhere.shows('only here');
  for (const window of [ada, second, elsewhere]) window.quiet();
});

test('who comes later sees what was said', {timeout}, async (t) => {
  const server = await serve(t, 'chat');
  const browser = await browse(t);
  const ada = await Window.open(browser, server.port);
  await ada.join('Ada');
  for (const text of ['one', 'two', 'three']) await ada.say(text);
  await ada.at('message', '[data-status="delivered"]').nth(2).waitFor();
  const bob = await Window.open(browser, server.port);
  await bob.join('Bob');
  await bob.shows('one', 'two', 'three');
  await ada.page.reload(); // the session comes back without the dialog
  await ada.state('connected');
  await ada.shows('one', 'two', 'three');
  ada.quiet();
  bob.quiet();
});

test('the polling pane counts and carries the same messages', {timeout}, async (t) => {
  const [ada, bob] = await two(t, await serve(t, 'chat'));
  await bob.say('seen twice');
  await ada.at('poll-log').getByText('seen twice').waitFor();
  const requests = await ada.metricAbove('poll-requests', 2);
  const bytes = await ada.metric('poll-bytes');
  await ada.metricAbove('poll-requests', requests + 1);
  await ada.metricAbove('poll-bytes', bytes);
  assert.equal(await ada.metric('ws-requests'), 1);
  assert.ok(await ada.metric('ws-bytes') > 0);
  assert.ok(await ada.metric('poll-header-bytes') > await ada.metric('ws-header-bytes'), 'polling pays for headers');

  await ada.at('poll-composer').fill('by POST');
  await ada.at('poll-send').click();
  await bob.shows('seen twice', 'by POST');
  ada.quiet();
  bob.quiet();
});

test('a cut connection: what was missed is fetched, once', {timeout}, async (t) => {
  const server = await serve(t, 'chat');
  const proxy = await Proxy.before(t, server.port);
  const [ada, bob] = await two(t, server, proxy.port);
  await bob.say('before');
  await ada.shows('before');

  proxy.down();
  await ada.state('reconnecting');
  await ada.at('reconnect').waitFor();
  await bob.say('missed');
  await bob.at('message', '[data-status="delivered"]').nth(1).waitFor();
  await ada.say('written while cut off');
  await ada.page.waitForFunction(() => / ([3-9]|\d\d) s/.test(document.getElementById('state').textContent)); // or the page is quicker
  await proxy.up();
  await ada.at('reconnect').click();
  await ada.state('connected');
  await ada.at('message', '[data-own="true"][data-status="delivered"]').waitFor();

  await bob.say('after'); // a duplicate would come before this
  for (const window of [ada, bob]) await window.shows('before', 'missed', 'written while cut off', 'after');
  assert.equal(await ada.at('log').getByTestId('history-lost').count(), 0);
  ada.quietButForOutages();
  bob.quiet();
});

test('a message whose acknowledgement is lost is there once', {timeout}, async (t) => {
  const server = await serve(t, 'chat');
  const proxy = await Proxy.before(t, server.port);
  const [ada, bob] = await two(t, server, proxy.port);
  proxy.silence();
  await ada.say('arrives');
  await bob.shows('arrives');
  assert.equal(await ada.at('message').getAttribute('data-status'), 'sending');
  proxy.down();
  await proxy.up();
  await ada.at('message', '[data-own="true"][data-status="delivered"]').waitFor();
  await ada.say('and once more');
  for (const window of [ada, bob]) await window.shows('arrives', 'and once more');
  ada.quietButForOutages();
  bob.quiet();
});

test('a server that is killed and comes back', {timeout}, async (t) => {
  const first = await start('chat', 0);
  t.after(() => end(first.process));
  const [ada, bob] = await two(t, first);
  await bob.say('before');
  await ada.shows('before');

  await end(first.process, 'SIGKILL');
  for (const window of [ada, bob]) await window.state('reconnecting');
  await bob.say('meanwhile');
  const second = await start('chat', first.port);
  t.after(() => second.stopped || stop(second));
  for (const window of [ada, bob]) await window.state('connected');

  // The new server knows nothing of before: the page says so, and goes on.
  await ada.at('log').getByTestId('history-lost').waitFor();
  await ada.shows('before', 'meanwhile');
  await ada.say('after');
  for (const window of [ada, bob]) {
    await window.shows('before', 'meanwhile', 'after');
    window.quietButForOutages();
  }

  // A server that ends in good order is told apart from one that is gone: it says 1001.
  const stopped = stop(second);
  for (const window of [ada, bob]) await window.state('reconnecting');
  await stopped;
});
