// examples/cluster: three nodes by the commands of the README, what is published to one, and what becomes of the clients of
// one that ends.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Listing} from '../examples/hub/app/web/listing.js';
import {browse} from './lib/browser.mjs';
import {anyOf, cluster} from './lib/cluster.mjs';
import {fresh} from './lib/hub.mjs';
import {Member, range} from './lib/hubpage.mjs';
import {run, tool, within} from './lib/process.mjs';
import {connected, subscription} from './lib/sdk.mjs';

const timeout = 240_000;

// Calls f until what it returns passes.
async function until(f, passes) {
  for (;;) {
    const value = await f();
    if (passes(value)) return value;
  }
}

// A client of npm centrifuge that begins at the node with that number and goes to another one when it has lost it.
async function member(t, nodes, first, name) {
  const centrifuge = await connected(t, nodes[first].url, 'json', {websocket: anyOf(nodes, first), data: {name}});
  centrifuge.name = name;
  return centrifuge;
}

const numbers = (sub) => sub.got.map(({data}) => data.n);

// Publishes n messages at a node, one after another.
async function publish(node, channel, n) {
  for (let i = 1; i <= n; i++) await node.publish(channel, {text: `${i} of ${n}`});
}

// Follows a channel and keeps what comes, with the position before it.
async function following(centrifuge, channel, options) {
  const sub = subscription(centrifuge, channel, options);
  sub.got = [];
  sub.on('publication', (publication) => sub.got.push(publication));
  sub.subscribe();
  sub.said = await sub.events.next('subscribed');
  return sub;
}

// Waits until what has come passes.
const came = (sub, what, passes) => within(20_000, () => `${what}; ${sub.got.length} came`, new Promise((resolve) => {
  const look = () => {
    if (!passes(sub.got)) return;
    sub.off('publication', look);
    resolve();
  };
  sub.on('publication', look);
  look();
}));

test('go run works in a fresh clone', {timeout}, async () => {
  const {code, err} = await run(tool('go', 'golang'), ['-C', 'examples/cluster', 'run', '.', '-help'], {cwd: new URL('..', import.meta.url), timeout: 180_000});
  assert.equal(code, 0, err);
  assert.match(err, /-cluster-peers/);
});

test('a page on each of three nodes, and one of them is killed', {timeout}, async (t) => {
  const nodes = await cluster(t);
  const [a, b, c] = nodes;
  const browser = await browse(t);
  const windows = [];
  for (const [i, name] of ['Ada', 'Bob', 'Carl'].entries()) {
    const window = await Member.open(browser, nodes[i].port);
    await window.join(name);
    windows.push(window);
  }
  const [ada, bob, carl] = windows;
  for (const [i, window] of windows.entries()) {
    await window.people('Ada', 'Bob', 'Carl');
    await window.at('node', `[data-node="${nodes[i].name}"][data-well="3"][data-all="3"]`).waitFor();
  }

  assert.ok((await nodes.curl()).result.offset > 0);
  for (const window of windows) await window.shows('to all');
  await bob.say('from b');
  await publish(b, 'sport', 5); // takes numbers of the same log
  await publish(c, 'news', 20);
  for (const window of windows) {
    await window.counts({received: 22, of: 22, missed: 0, coming: 0, twice: 0, reconnects: 0});
    await window.verdict('complete');
  }
  const order = await ada.offsets();
  for (const window of [bob, carl]) assert.deepEqual(await window.offsets(), order);

  await c.kill();
  await publish(a, 'news', 30);
  await carl.state('connected');
  for (const window of windows) {
    await window.counts({received: 52, of: 52, missed: 0, coming: 0, twice: 0});
    await window.verdict('complete');
  }
  assert.equal((await carl.figures()).reconnects, '1');
  assert.deepEqual(await carl.offsets(), await ada.offsets());
  await carl.at('outage', '[data-recovered="true"]').waitFor();
  await carl.at('node', ':not([data-node="c"])[data-well="2"][data-all="3"][data-missing="c"]').waitFor();
  for (const window of windows) await window.people('Ada', 'Bob', 'Carl');

  c.start();
  await c.ready();
  for (const window of windows) await window.at('node', '[data-well="3"][data-missing=""]').waitFor();
  await publish(c, 'news', 5);
  for (const window of windows) await window.counts({received: 57, of: 57, missed: 0, coming: 0, twice: 0});
  ada.quiet();
  bob.quiet();
  carl.quietButForOutages();
});

test('calls reach all nodes, and a dead one leaves nothing behind', {timeout}, async (t) => {
  const nodes = await cluster(t);
  const [a, b, c] = nodes;
  const channel = fresh('calls');
  const names = ['anna', 'ben', 'cleo', 'anna', 'ben', 'cleo'];
  const all = await Promise.all(names.map((name, i) => member(t, nodes, i % 3, name)));
  const subs = await Promise.all(all.map((each) => following(each, channel)));
  const ids = () => all.map(({events, id}) => id).sort();
  const present = async (node) => Object.keys((await node.api('presence', {channel})).presence).sort();
  for (const node of nodes) {
    assert.deepEqual(await present(node), ids());
    const {num_clients: clients, num_users: users} = await node.api('presence_stats', {channel});
    assert.deepEqual([clients, users], [6, 3]);
  }

  // An order at a for clients of c: both of cleo's.
  await a.api('unsubscribe', {user: 'cleo', channel});
  for (const i of [2, 5]) await subs[i].events.next('unsubscribed');
  await b.api('subscribe', {user: 'cleo', channel: 'other'});
  await until(() => a.api('presence_stats', {channel: 'other'}), ({num_clients: n}) => n === 2);
  await a.api('disconnect', {client: all[5].id, disconnect: {code: 4500, reason: 'out'}});
  assert.equal((await all[5].events.next('disconnected')).code, 4500);
  subs[2].subscribe();
  await subs[2].events.next('subscribed');
  await until(() => present(b), (list) => list.length === 5);

  // c dies: its client goes on elsewhere, and the connection that it had is gone in time.
  const before = all[2].id;
  for (const n of range(1, 10)) await a.publish(channel, {n});
  const killed = Date.now();
  await c.kill();
  const forgotten = Promise.all([a, b].map((node) => within(10_000 - (Date.now() - killed), `${node.name} to forget the members of c`,
    until(() => present(node), (members) => !members.includes(before))))).then(() => t.diagnostic(`the members of c were there for ${Date.now() - killed} ms`));
  for (const n of range(11, 60)) await a.publish(channel, {n});
  const back = await subs[2].events.next('subscribed', ({wasRecovering}) => wasRecovering, 20_000);
  assert.equal(back.recovered, true);
  for (const sub of subs.slice(0, 5)) {
    await came(sub, 'the last of 60', (got) => got.at(-1)?.data.n === 60);
    assert.deepEqual(numbers(sub), range(1, 60));
  }
  await forgotten;
  for (const node of [a, b]) assert.equal((await present(node)).length, 5);
  const {num_clients: clients, num_users: users} = await b.api('presence_stats', {channel});
  assert.deepEqual([clients, users], [5, 3]);

  // c comes again, with its store: a position from before is good there.
  c.start();
  await c.ready();
  const late = await member(t, [c], 0, 'late');
  const {epoch} = subs[0].said.streamPosition;
  const sub = await following(late, channel, {since: {offset: subs[0].got[4].offset, epoch}});
  assert.deepEqual([sub.said.wasRecovering, sub.said.recovered], [true, true]);
  await came(sub, 'what was missed', (got) => got.at(-1)?.data.n === 60);
  assert.deepEqual(numbers(sub), range(6, 60));
});

test('all nodes are restarted, one after the other, and nothing is lost', {timeout}, async (t) => {
  const nodes = await cluster(t, '-drain', '2s', '-unready-for', '200ms');
  const channel = fresh('rolling');
  const all = await Promise.all(range(0, 11).map((i) => member(t, nodes, i % 3, `user${i}`)));
  const subs = await Promise.all(all.map((each) => following(each, channel)));

  // Numbers, to one node after the other; what fails is sent again with the same key.
  let n = 0, going = true;
  const traffic = (async () => {
    while (going) {
      n++;
      for (let i = n; ; i++) {
        const sent = await nodes[i % 3].api('publish', {channel, data: {n}, idempotency_key: `${channel}-${n}`}).catch(() => null);
        if (sent) break;
      }
    }
  })();
  for (const node of nodes) {
    await node.stop();
    assert.match(node.process.out, /open http/);
    node.start();
    await node.ready();
    const began = n;
    await came(subs[0], 'more', (got) => got.at(-1)?.data.n > began + 1);
  }
  going = false;
  await traffic;
  for (const [i, sub] of subs.entries()) {
    await came(sub, `${n} at client ${i}`, (got) => got.at(-1)?.data.n === n);
    assert.deepEqual(numbers(sub), range(1, n), `client ${i}`);
    let moved = 0;
    for (const said of sub.events.all('subscribed')) {
      assert.equal(said.recovered, true, `client ${i}`);
      moved++;
    }
    assert.ok(moved >= 1, `client ${i} was never moved`);
  }
});

test('a listing counts what the history has and what has come', () => {
  const listing = new Listing();
  const figures = () => [listing.received, listing.of, listing.missed, listing.coming, listing.twice, listing.unknown];
  const said = (epoch, offset, recovering, recovered, ...offsets) => listing.subscribed({epoch, offset, recovering, recovered, publications: offsets.map((n) => ({offset: n}))});
  const listed = (offset, ...offsets) => listing.says({epoch: listing.epoch, offset, publications: offsets.map((n) => ({offset: n}))}, 1);
  assert.equal(said('a', 7, false, false), 0);
  assert.deepEqual(listing.question, {limit: 1000, since: {epoch: 'a', offset: 7}});
  listing.take(12);
  listing.take(30);
  assert.deepEqual(figures(), [2, 2, 0, 0, 0, false]);
  assert.equal(listed(30, 12, 30), false);
  assert.deepEqual(figures(), [2, 2, 0, 0, 0, false]);
  assert.equal(listed(90, 40, 55), true); // cut off by its size
  assert.deepEqual(figures(), [2, 4, 0, 2, 0, false]);
  listing.take(55); // 40 never came
  assert.deepEqual(figures(), [3, 4, 1, 0, 0, false]);
  listing.take(55);
  assert.deepEqual(figures(), [3, 4, 1, 0, 1, false]);
  assert.equal(listed(90, 90), false);
  assert.deepEqual(figures(), [3, 5, 1, 1, 1, false]);
  assert.equal(said('a', 100, true, true, 90, 95), 0);
  assert.deepEqual(figures(), [5, 6, 1, 0, 1, false]);
  assert.equal(listed(100, 95), true); // 100 was of nobody, or is forgotten
  assert.equal(listed(100), false);
  assert.deepEqual(figures(), [5, 6, 1, 0, 1, false]);
  assert.equal(listing.question.since.offset, 100);

  assert.equal(said('a', 200, true, false), Infinity); // the list will tell
  assert.deepEqual(figures(), [5, 6, 1, 0, 1, false]);
  assert.equal(listing.failed({code: 112}), true); // or not
  assert.deepEqual(listing.question, {limit: 0});
  assert.equal(listed(200), false);
  assert.equal(listing.question.since.offset, 200);
  assert.equal(listing.unknown, true);
  assert.equal(listing.failed({code: 0}), false);

  assert.equal(said('b', 9, true, false), Infinity);
  listing.take(11);
  assert.deepEqual(figures(), [6, 7, 1, 0, 1, true]);
  assert.equal(listing.broken, true);
});
