// examples/hub in Chromium: two people, their channels, and what a cut costs them: nothing, or the page says so.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Tally} from '../examples/hub/app/web/tally.js';
import {browse} from './lib/browser.mjs';
import {inSeconds, token} from './lib/hub.mjs';
import {call, key, Member, publish, range} from './lib/hubpage.mjs';
import {end, within} from './lib/process.mjs';
import {Proxy} from './lib/proxy.mjs';
import {serve, start, stop} from './lib/server.mjs';

const timeout = 90_000;

// Ada and Bob in one channel. Ada comes through port, if given.
async function two(t, server, port = server.port) {
  const browser = await browse(t);
  const ada = await Member.open(browser, port);
  const bob = await Member.open(browser, server.port);
  await ada.join('Ada');
  await bob.join('Bob');
  await ada.people('Ada', 'Bob');
  await bob.people('Ada', 'Bob');
  return [ada, bob];
}

const quiet = (...windows) => windows.forEach((window) => window.quiet());

test('two pages see each other, and what the other says', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key);
  const [ada, bob] = await two(t, server);
  assert.match(server.process.err, /no -secret: everybody is let in as the name that they give/);
  assert.match(await ada.at('person', '[data-user="Ada"]').textContent(), /you/);
  assert.doesNotMatch(await ada.at('person', '[data-user="Bob"]').textContent(), /you/);

  const markup = '<img src=x onerror=alert(1)> & "quotes" é€𝄞';
  for (const [window, text] of [[ada, 'hello Bob'], [bob, markup]]) {
    await window.say(text);
    for (const each of [ada, bob]) await each.message(text).waitFor();
  }
  await call(server.port, 'publish', {channel: 'news', data: {n: 1}}); // of a backend, and no text
  for (const window of [ada, bob]) {
    await window.shows('hello Bob', markup, '{"n":1}');
    await window.counts({received: 3, of: 3, missed: 0, reconnects: 0});
    await window.verdict('complete');
    assert.deepEqual(await window.offsets(), [1, 2, 3]);
  }
  assert.deepEqual(await ada.at('message').evaluateAll((list) => list.map(({dataset}) => dataset.by)), ['Ada', 'Bob', 'server']);

  const carl = await Member.open(ada.page.context().browser(), server.port);
  await carl.join('Carl'); // sees what was said before, which is not counted
  await carl.shows('hello Bob', markup, '{"n":1}');
  await carl.counts({received: 0, of: 0});
  await ada.people('Ada', 'Bob', 'Carl');
  await bob.at('leave').click();
  await bob.at('join').waitFor();
  await ada.people('Ada', 'Carl');
  await carl.people('Ada', 'Carl');
  quiet(ada, bob, carl);
});

test('a channel for each: nobody hears what they do not follow', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key, '-max-channels', '2');
  const [ada, bob] = await two(t, server);
  const follow = async (name) => {
    await ada.page.locator('#channel').fill(name);
    await ada.at('follow').click();
  };
  await follow('#sport');
  await ada.people('Ada');
  await call(server.port, 'publish', {channel: 'sport', data: {text: 'one nil'}});
  await ada.message('one nil').waitFor();
  await bob.say('news');
  await ada.at('channel', '[data-channel="news"]').getByText('1', {exact: true}).waitFor(); // unread
  assert.equal(await ada.page.title(), '(1) #sport · sockmill hub');
  await bob.shows('news');

  await follow('third');
  await ada.at('follow-error').getByText('#third: limit exceeded').waitFor();
  await follow('no:such');
  await ada.at('follow-error').getByText('#no:such: unknown channel').waitFor();
  await ada.at('channel', '[data-channel="no:such"]').waitFor({state: 'detached'});
  assert.deepEqual(await ada.at('channels').locator('li').evaluateAll((list) => list.map(({dataset}) => dataset.channel)), ['news', 'sport']);
  await ada.counts({received: 2, of: 2});

  await ada.page.reload(); // with the same channels
  await ada.state('connected');
  assert.equal(await ada.page.evaluate(() => location.hash), '#news,sport');
  await ada.at('channel', '[data-channel="news"]').getByTestId('unfollow').click();
  await bob.people('Bob');
  await bob.say('to myself');
  await bob.message('to myself').waitFor();
  await ada.counts({received: 0, of: 0});
  quiet(ada, bob);
});

test('cut, and hundreds of messages later everything is there', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key);
  const [ada, bob] = await two(t, server);
  await publish(server.port, 'news', 4);
  await ada.counts({received: 4, of: 4});

  await ada.cut();
  await ada.at('announce').getByText('Your connection is cut.').waitFor();
  await bob.people('Bob'); // the others go on
  await bob.at('burst').click();
  await publish(server.port, 'news', 250);
  await bob.counts({received: 354, of: 354, reconnects: 0});
  assert.equal((await ada.figures()).received, '4');

  await ada.comeBack();
  await ada.counts({received: 354, of: 354, missed: 0, twice: 0, reconnects: 1});
  await ada.verdict('complete');
  assert.equal((await ada.at('counter').textContent()).replace(/\s+/g, ' '), '354 of 354 received, 1 reconnect');
  assert.deepEqual(await ada.offsets(), range(1, 354));
  assert.deepEqual(await ada.offsets('recovered'), range(5, 354));
  await ada.at('outage', '[data-recovered="true"]').getByText('350 came back').waitFor();
  await ada.at('announce').getByText('350 messages came back. Nothing is missing.').waitFor();
  await bob.people('Ada', 'Bob');
  await ada.people('Ada', 'Bob');

  await ada.cut(5); // and by itself
  await bob.say('while you were away');
  await ada.state('connected');
  await ada.message('while you were away').waitFor();
  await bob.say('after');
  await ada.message('after').waitFor();
  await ada.counts({received: 356, of: 356, missed: 0, twice: 0, reconnects: 2});
  assert.deepEqual(await ada.offsets(), range(1, 356));
  quiet(ada, bob);
});

test('a network that is away: back by itself, and complete', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key);
  const proxy = await Proxy.before(t, server.port);
  const [ada, bob] = await two(t, server, proxy.port);
  for (let round = 1; round <= 3; round++) {
    proxy.down();
    await ada.state('waiting');
    await ada.at('banner').getByText('No connection to the server.').waitFor();
    await publish(server.port, 'news', 50);
    await proxy.up();
    await ada.counts({received: 50 * round, of: 50 * round, missed: 0, twice: 0, reconnects: round});
    await ada.verdict('complete');
  }
  assert.deepEqual(await ada.offsets(), range(1, 150));
  ada.quietButForOutages();
  bob.quiet();
});

test('more than the history keeps: the page says how much is missing', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key, '-history', '20', '-history-for', '0s');
  const [ada, bob] = await two(t, server);
  await publish(server.port, 'news', 3);
  await ada.counts({received: 3});
  await ada.cut();
  await publish(server.port, 'news', 30);
  await ada.comeBack();
  await ada.counts({received: 3, of: 33, missed: 30, reconnects: 1});
  await ada.verdict('lost');
  await ada.at('divider', '[data-kind="lost"]').getByText('30 messages are missing here · recovered: false').waitFor();
  await ada.at('outage', '[data-recovered="false"]').getByText('30 missed').waitFor();
  await ada.at('announce').getByText('30 messages are missing').waitFor();

  await bob.say('goes on'); // and what comes next is counted right, within the history
  await ada.cut();
  await publish(server.port, 'news', 20);
  await ada.comeBack();
  await ada.counts({received: 24, of: 54, missed: 30, reconnects: 2});
  await ada.at('outage', '[data-recovered="true"]').getByText('20 came back').waitFor();
  await bob.counts({received: 54, of: 54, missed: 0});
  quiet(ada, bob);
});

test('away for longer than the history lasts: the page says so', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key, '-history-for', '500ms');
  const [ada, bob] = await two(t, server);
  await ada.cut();
  await publish(server.port, 'news', 100); // more than the server keeps at hand beside the history
  for (;;) { // until they have left the history
    const {publications} = await call(server.port, 'history', {channel: 'news', limit: 100});
    if (!publications?.length) break;
  }
  await ada.comeBack();
  await ada.counts({received: 0, of: 100, missed: 100});
  await ada.verdict('lost');
  assert.match(await ada.at('verdict').textContent(), /^recovered: false\. 100 messages had left the history/);

  await ada.cut(); // nothing was published meanwhile, so nothing is missing
  await ada.comeBack();
  await ada.at('outage', '[data-recovered="true"]').getByText('0 came back').waitFor();
  await ada.counts({received: 0, of: 100, missed: 100, reconnects: 2});
  quiet(ada, bob);
});

test('without a history nothing is promised, and the page says that', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key, '-history', '0');
  const [ada, bob] = await two(t, server);
  await bob.say('one');
  await ada.shows('one');
  for (const window of [ada, bob]) await window.verdict('unproven');
  await ada.counts({received: 1, of: 1});
  await ada.cut();
  await bob.say('two');
  await bob.message('two').waitFor();
  await ada.comeBack();
  await ada.at('divider', '[data-kind="lost"]').getByText('There is no history: nobody knows what is missing here').waitFor();
  await ada.at('outage', '[data-recovered="false"]').waitFor();
  await bob.say('three');
  await ada.shows('one', 'three');
  await ada.counts({received: 2, of: 2, missed: 0});
  await ada.verdict('unproven');
  quiet(ada, bob);
});

test('a server that is killed: nobody can say what is missing, and the page says that', {timeout}, async (t) => {
  const first = await start('hub', 0, ['-api-key', key]);
  t.after(() => end(first.process));
  const [ada, bob] = await two(t, first);
  await publish(first.port, 'news', 5);
  for (const window of [ada, bob]) await window.counts({received: 5});
  await end(first.process, 'SIGKILL');
  for (const window of [ada, bob]) await window.state('waiting');
  const second = await start('hub', first.port, ['-api-key', key]);
  t.after(() => second.stopped || stop(second));
  for (const window of [ada, bob]) {
    await window.state('connected');
    await window.verdict('lost');
    await window.at('divider', '[data-kind="lost"]').getByText('nobody knows what is missing here · recovered: false').waitFor();
    await window.people('Ada', 'Bob');
  }
  await bob.say('after');
  await ada.message('after').waitFor();
  await ada.counts({received: 6, of: 6});
  await ada.verdict('lost'); // still

  const stopped = stop(second); // a good end: the clients come back by themselves
  for (const window of [ada, bob]) await window.state('waiting');
  await stopped;
  for (const window of [ada, bob]) window.quietButForOutages();
});

// Opens the page with somebody between it and the server, who gets each line and two functions that pass lines on.
async function between(t, server, fromServer, fromPage = (line, {toServer}) => toServer(line)) {
  const ada = await Member.open(await browse(t), server.port);
  const wire = {};
  await ada.page.routeWebSocket('**/connection/websocket', (page) => {
    const upstream = page.connectToServer();
    Object.assign(wire, {toPage: (line) => page.send(line), toServer: (line) => upstream.send(line)});
    upstream.onMessage((data) => data.split('\n').forEach((line) => fromServer(line, wire)));
    page.onMessage((data) => data.split('\n').forEach((line) => fromPage(line, wire)));
  });
  await ada.page.reload();
  await ada.join('Ada');
  await ada.verdict('complete');
  return [ada, wire];
}

test('what happens while the page still asks', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key);
  await publish(server.port, 'news', 2);
  const answers = [], questions = [];
  const [ada, {toPage, toServer}] = await between(t, server,
    (line, wire) => JSON.parse(line).presence ? answers.push(line) : wire.toPage(line),
    (line, wire) => JSON.parse(line).history?.reverse ? questions.push(line) : wire.toServer(line));
  const bob = await Member.open(ada.page.context().browser(), server.port);
  await bob.join('Bob');
  await bob.say('third');
  await ada.message('third').waitFor();
  answers.forEach(toPage); // Bob was not here then
  questions.forEach(toServer); // the third is part of the history now
  await ada.people('Ada', 'Bob');
  await ada.message('1 of 2').waitFor();
  await ada.shows('1 of 2', '2 of 2', 'third');
  await ada.counts({received: 1, of: 1});
  quiet(ada, bob);
});

// The counter is a proof only if it can fail: something between the server and the page takes a message away, or sends it twice.
test('what is taken away or doubled on the way is seen', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key);
  const copies = new Map([[2, 0], [4, 2], [6, 0]]); // of a message, by its number; of others, one
  const [ada] = await between(t, server, (line, {toPage}) => {
    const n = copies.get(JSON.parse(line).push?.pub?.offset) ?? 1;
    for (let i = 0; i < n; i++) toPage(line);
  });
  await publish(server.port, 'news', 1);
  await ada.counts({received: 1, of: 1, missed: 0, twice: 0});
  await publish(server.port, 'news', 1); // taken away, and nothing after it: only the server's word tells
  await ada.counts({received: 1, of: 2, missed: 0, coming: 1});
  await ada.verdict('coming');
  await publish(server.port, 'news', 1);
  await ada.counts({received: 2, of: 3, missed: 1, coming: 0, twice: 0});
  await ada.verdict('lost');
  await publish(server.port, 'news', 1);
  await ada.counts({received: 3, of: 4, missed: 1, twice: 1});
  await publish(server.port, 'news', 3);
  await ada.counts({received: 5, of: 7, missed: 2, twice: 1});
  ada.quiet();
});

test('taken out of a channel, pinged, and left in silence', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-api-key', key);
  let silent = false, pongs = 0, code, twoPongs;
  const [ada, wire] = await between(t, server, (line, {toPage}) => {
    if (JSON.parse(line).unsubscribe) line = JSON.stringify({push: {channel: 'news', unsubscribe: {code, reason: `because of ${code}`}}});
    if (!silent) toPage(line);
  }, (line, {toServer}) => {
    if (line === '{}' && ++pongs === 2) twoPongs();
    toServer(line);
  });
  const takeOut = (because) => { // the page has not asked for it: it gets the answer as a push
    code = because;
    wire.toServer('{"id":100000,"unsubscribe":{"channel":"news"}}');
  };
  await publish(server.port, 'news', 2);
  await ada.counts({received: 2, of: 2});
  takeOut(2500);
  await publish(server.port, 'news', 2);
  await ada.counts({received: 4, of: 4, missed: 0, twice: 0, reconnects: 0});

  assert.equal(pongs, 0);
  const answered = new Promise((resolve) => { twoPongs = resolve; });
  wire.toPage('{}');
  wire.toPage('{}');
  await within(10_000, 'two pongs', answered);

  await ada.page.clock.install();
  await ada.page.reload(); // timers of the page obey the clock from now on
  await ada.state('connected');
  await ada.verdict('complete');
  silent = true;
  await publish(server.port, 'news', 3);
  await ada.page.clock.fastForward(36_000); // a ping every 25 s, and 10 s of patience
  await ada.state('waiting');
  silent = false;
  await ada.page.clock.fastForward(1_000);
  await ada.counts({received: 3, of: 3, missed: 0, reconnects: 1});

  takeOut(2000);
  await ada.at('follow-error').getByText('#news: because of 2000').waitFor();
  await ada.at('verdict').getByText('Follow a channel.').waitFor();
  assert.equal(await ada.at('channels').locator('li').count(), 0);
  // What the page has said last comes to the real socket by way of this process, and finds it closed.
  ada.complaints = ada.complaints.filter((text) => text !== 'WebSocket is already in CLOSING or CLOSED state.');
  ada.quietButForOutages();
});

test('a tally counts across epochs', () => {
  const tally = new Tally();
  const said = (epoch, offset, recovering, ...offsets) => tally.subscribed({epoch, offset, recovering, publications: offsets.map((n) => ({offset: n}))});
  const figures = () => [tally.received, tally.of, tally.missed, tally.coming, tally.unknown];
  assert.equal(said('a', 7, false), 0);
  tally.take(8);
  assert.deepEqual(figures(), [1, 1, 0, 0, false]);
  tally.says({epoch: 'a', offset: 10}, 1);
  assert.deepEqual(figures(), [1, 3, 0, 2, false]);
  assert.equal(said('a', 11, true, 9, 10, 11), 0);
  assert.deepEqual(figures(), [4, 4, 0, 0, false]);
  assert.equal(said('a', 15, true), 4);
  assert.deepEqual(figures(), [4, 8, 4, 0, false]);
  tally.says({epoch: 'a', offset: 17}, 1);
  assert.equal(said('b', 3, true), Infinity); // two of "a" and three of "b" are known to be missing
  assert.deepEqual(figures(), [4, 13, 9, 0, true]);
  tally.take(4);
  assert.deepEqual(figures(), [5, 14, 9, 0, true]);
  tally.says({epoch: 'c', offset: 0}, 1);
  assert.equal(tally.broken, true);
});

test('with a secret, a token says who one is', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-secret', 's3cret');
  const ada = await Member.open(await browse(t), server.port);
  await ada.at('token').waitFor();
  assert.equal(await ada.at('name').isVisible(), false);
  for (const [claims, key, says] of [
    [{sub: 'Ada', exp: inSeconds(60)}, 'guessed', 'invalid token'],
    [{sub: 'Ada', exp: inSeconds(-3600)}, 's3cret', 'token expired'],
    [{exp: inSeconds(60)}, 's3cret', 'unauthorized'],
  ]) {
    await ada.at('token').fill(token(claims, {key}));
    await ada.at('join').click();
    await ada.at('join-error').getByText(says).waitFor();
  }
  await ada.at('token').fill(token({sub: 'Ada Lovelace', exp: inSeconds(60)}, {key: 's3cret'}));
  await ada.at('join').click();
  await ada.state('connected');
  await ada.people('Ada Lovelace');
  const refused = await fetch(`http://127.0.0.1:${server.port}/demo-token`, {method: 'POST', body: '{"name":"Eve"}'});
  assert.equal(refused.status, 405);
  assert.doesNotMatch(server.process.err, /WARN/);
  ada.quiet();
});

test('with -demo-tokens, a name is enough', {timeout}, async (t) => {
  const server = await serve(t, 'hub', '-secret', 's3cret', '-demo-tokens');
  const [ada, bob] = await two(t, server);
  await ada.cut();
  await bob.say('meanwhile');
  await ada.comeBack();
  await ada.shows('meanwhile');
  await ada.counts({received: 1, of: 1, reconnects: 1});
  quiet(ada, bob);
});

test('by keyboard alone', {timeout}, async (t) => {
  const server = await serve(t, 'hub');
  const ada = await Member.open(await browse(t), server.port, {channel: 'news,sport'});
  const {keyboard} = ada.page;
  const focused = (id) => ada.page.waitForFunction((want) => document.activeElement.dataset.testid === want, id);
  await focused('name');
  await keyboard.type('Ada');
  await keyboard.press('Enter');
  await ada.state('connected');
  await focused('composer');
  await keyboard.type('to the news');
  await keyboard.press('Enter');
  await ada.shows('to the news');
  await keyboard.press('Alt+ArrowDown');
  await ada.at('log', '[data-channel="sport"]:not([hidden])').waitFor();
  await ada.at('cut').focus();
  await keyboard.press('Enter');
  await ada.state('cut');
  await focused('reconnect');
  await keyboard.press('Enter');
  await ada.state('connected');
  await focused('composer');
  await ada.at('burst').focus();
  await keyboard.press('/');
  await focused('composer');

  // Whatever can have the focus has a name.
  const nameless = await ada.page.evaluate(() => [...document.querySelectorAll('button, input, select, textarea, a, summary, [tabindex="0"]')]
    .filter((e) => !(e.getAttribute('aria-label') || e.getAttribute('aria-labelledby') || e.labels?.length || e.textContent.trim()))
    .map((e) => e.outerHTML));
  assert.deepEqual(nameless, []);
  ada.quiet();
});
