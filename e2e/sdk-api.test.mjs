// The HTTP API, as curl and backends call it, and what npm centrifuge sees of it.
import assert from 'node:assert/strict';
import {describe, test} from 'node:test';
import {apiKey, fresh, hub} from './lib/hub.mjs';
import {run, tool} from './lib/process.mjs';
import {formats, people, subscribed} from './lib/sdk.mjs';

const timeout = 30_000;
const example = hub('example');
const full = hub('full');

describe('the HTTP API', {concurrency: true}, () => {
  calls();
  for (const [format, codec] of Object.entries(formats)) {
    describe(`and npm centrifuge, ${format}`, {concurrency: true}, () => {
      pushes(format, codec);
      sendsAway(format);
    });
  }
});

function calls() {
  test('curl pushes to a channel', {timeout}, async (t) => {
    const [ada] = await people(t, example, 'json', fresh('ada'));
    const sub = await subscribed(ada, 'news');
    const {code, out, err} = await run(tool('curl', 'curl'), ['-sS', '-H', `X-API-Key: ${apiKey}`,
      '-d', '{"channel":"news","data":{"n":1}}', `http://127.0.0.1:${example.port}/api/publish`]);
    assert.equal(code, 0, err);
    const {offset, epoch} = JSON.parse(out).result;
    assert.deepEqual({offset, epoch}, {offset: 1, epoch: sub.said.streamPosition.epoch});
    assert.deepEqual((await sub.events.next('publication')).data, {n: 1});
  });

  test('keys', {timeout}, async () => {
    const ask = async (headers) => (await example.call('/api/info', {}, headers)).status;
    assert.equal(await ask({'X-API-Key': apiKey}), 200);
    assert.equal(await ask({Authorization: `apikey ${apiKey}`}), 200);
    for (const headers of [{}, {'X-API-Key': ''}, {'X-API-Key': `${apiKey}x`}, {'X-API-Key': apiKey.slice(0, -1)},
      {Authorization: apiKey}, {Authorization: `Bearer ${apiKey}`}]) {
      assert.equal(await ask(headers), 401, JSON.stringify(headers));
    }
  });

  test('what is wrong is said', {timeout}, async () => {
    const error = async (method, params) => {
      const {status, body} = await full.call(`/api/${method}`, params);
      return [status, body.error?.code];
    };
    assert.deepEqual(await error('publish', {channel: 'nowhere:x', data: {}}), [200, 102]);
    assert.deepEqual(await error('publish', {data: {}}), [200, 107]);
    assert.deepEqual(await error('publish', {channel: 'x'}), [200, 107]);
    assert.deepEqual(await error('presence', {channel: 'bare:x'}), [200, 108]);
    assert.deepEqual(await error('history', {channel: 'bare:x'}), [200, 108]);
    assert.deepEqual(await error('broadcast', {channels: [], data: {}}), [200, 107]);
    assert.equal((await full.call('/api/nothing', {})).status, 404);
    assert.equal((await full.call('/api/publish', '{')).status, 400);
    assert.equal((await full.call('/api/publish', '')).status, 400);
    const {status, body} = await full.call('/api/history', {channel: fresh('x'), limit: 1, since: {offset: 1, epoch: 'another'}});
    assert.deepEqual([status, body.error?.code], [200, 112]);
  });

  test('history', {timeout}, async () => {
    const channel = fresh('history');
    for (const n of [1, 2, 3]) await example.api('publish', {channel, data: {n}});
    const top = await example.api('history', {channel});
    assert.deepEqual([top.offset, top.publications ?? []], [3, []]);
    const get = async (query) => (await example.api('history', {channel, ...query})).publications.map(({data, offset}) => [data.n, offset]);
    assert.deepEqual(await get({limit: 2}), [[1, 1], [2, 2]]);
    assert.deepEqual(await get({limit: 2, reverse: true}), [[3, 3], [2, 2]]);
    assert.deepEqual(await get({limit: 10, since: {offset: 1, epoch: top.epoch}}), [[2, 2], [3, 3]]);
    await example.api('publish', {channel, data: {n: 4}, skip_history: true});
    assert.equal((await example.api('history', {channel})).offset, 3);
    await example.api('history_remove', {channel});
    assert.deepEqual((await example.api('history', {channel, limit: 10})).publications ?? [], []);
  });

  test('a batch, in order', {timeout}, async () => {
    const channel = fresh('batch');
    const numbers = Array.from({length: 250}, (_, n) => n + 1);
    const {body: {replies}} = await full.call('/api/batch', {commands: [
      {publish: {channel: 'nowhere:x', data: 0}}, ...numbers.map((data) => ({publish: {channel, data}})),
      {history: {channel, limit: 250}}, {presence_stats: {channel}},
    ]});
    const [refused, ...rest] = replies;
    const [history, stats] = rest.splice(numbers.length);
    assert.equal(refused.error.code, 102);
    assert.deepEqual(rest.map(({publish}) => publish.offset), numbers);
    assert.deepEqual(history.history.publications.map(({data}) => data), numbers);
    assert.ok(stats.presence_stats);
  });

  test('commands with their method, one a line, as older backends send them', {timeout}, async () => {
    const channel = fresh('old');
    const line = (method, params) => JSON.stringify({method, params});
    const {status, text} = await example.call('/api', `${line('publish', {channel, data: 1})}\n${line('history', {channel, limit: 5})}\n`);
    assert.equal(status, 200);
    const [published, history] = text.trim().split('\n').map((reply) => JSON.parse(reply).result);
    assert.equal(published.offset, 1);
    assert.deepEqual(history.publications.map(({data}) => data), [1]);
  });

  test('one key, one publication', {timeout}, async (t) => {
    const [ada] = await people(t, example, 'json', 'ada');
    const sub = await subscribed(ada, fresh('once'));
    const publish = (data) => example.api('publish', {channel: sub.channel, data, idempotency_key: `${sub.channel} 1`});
    const first = await publish(1);
    assert.deepEqual(await publish(1), first);
    await example.api('publish', {channel: sub.channel, data: 2});
    for (const n of [1, 2]) assert.deepEqual((await sub.events.next('publication')).data, n);
  });
}

function pushes(format, {unpack}) {
  test('publications, also to many channels, with tags and in base64', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const [one, two] = [await subscribed(ada, fresh('one')), await subscribed(ada, fresh('two'))];
    const b64data = Buffer.from('{"n":2}').toString('base64');
    await example.api('publish', {channel: one.channel, data: {n: 1}, tags: {colour: 'red'}});
    await example.api('publish', {channel: one.channel, b64data});
    const {responses} = await example.api('broadcast', {channels: [one.channel, two.channel], data: {n: 3}});
    assert.deepEqual(responses.map(({result}) => result.offset), [3, 1]);
    const first = await one.events.next('publication');
    assert.deepEqual([unpack(first.data), first.tags, first.offset], [{n: 1}, {colour: 'red'}, 1]);
    assert.deepEqual(unpack((await one.events.next('publication')).data), {n: 2});
    for (const sub of [one, two]) assert.deepEqual(unpack((await sub.events.next('publication')).data), {n: 3});
  });

  test('who is here, and where', {timeout}, async (t) => {
    const names = [fresh('ada'), fresh('bob')];
    const [ada, bob] = await people(t, example, format, ...names);
    const channel = fresh('here');
    for (const centrifuge of [ada, bob]) await subscribed(centrifuge, channel);
    const {presence} = await example.api('presence', {channel});
    assert.deepEqual(Object.entries(presence).map(([id, {client: same, user}]) => [id, same, user]).sort(),
      [[ada.id, ada.id, names[0]], [bob.id, bob.id, names[1]]].sort());
    assert.deepEqual(await example.api('presence_stats', {channel}), {num_clients: 2, num_users: 2});
    const {channels} = await example.api('channels', {pattern: `${channel}*`});
    assert.deepEqual(channels, {[channel]: {num_clients: 2}});
    const {nodes} = await example.api('info');
    assert.equal(nodes.length, 1);
    for (const what of ['num_clients', 'num_users', 'num_channels']) assert.equal(typeof nodes[0][what], 'number', what);
    assert.ok(nodes[0].uid);
  });

  test('a user joins and leaves a channel without being asked', {timeout}, async (t) => {
    const name = fresh('ada');
    const [ada, second, bob] = await people(t, example, format, name, name, fresh('bob'));
    const channel = fresh('pushed');
    const b = await subscribed(bob, channel, {joinLeave: true});
    await b.events.next('join');
    await example.api('subscribe', {user: name, channel, info: {by: 'the server'}, data: {hello: 1}});
    for (const centrifuge of [ada, second]) {
      const said = await centrifuge.events.next('subscribed');
      assert.deepEqual([said.channel, unpack(said.data), said.recoverable], [channel, {hello: 1}, true]);
      const {info} = await b.events.next('join', (e) => e.info.client === centrifuge.id);
      assert.deepEqual([info.user, unpack(info.chanInfo)], [name, {by: 'the server'}]);
    }
    await example.api('publish', {channel, data: {n: 1}});
    for (const centrifuge of [ada, second]) {
      const {channel: where, data, offset} = await centrifuge.events.next('publication');
      assert.deepEqual([where, unpack(data), offset], [channel, {n: 1}, 1]);
    }
    await example.api('unsubscribe', {user: name, channel, client: second.id});
    assert.equal((await second.events.next('unsubscribed')).channel, channel);
    assert.equal((await b.events.next('leave')).info.client, second.id);
    await example.api('publish', {channel, data: {n: 2}});
    await ada.events.next('publication');
    ada.events.no('unsubscribed');
    second.events.no('publication');
  });

  test('a subscription taken away', {timeout}, async (t) => {
    const name = fresh('ada');
    const [ada] = await people(t, example, format, name);
    const sub = await subscribed(ada, fresh('taken'));
    await example.api('unsubscribe', {user: name, channel: sub.channel});
    const {code, reason} = await sub.events.next('unsubscribed');
    assert.deepEqual([code, reason], [2000, 'server unsubscribe']);
    assert.deepEqual(await example.api('presence_stats', {channel: sub.channel}), {num_clients: 0, num_users: 0});
    sub.subscribe();
    await sub.events.next('subscribed');
    await example.api('publish', {channel: sub.channel, data: 1});
    await sub.events.next('publication');
  });
}

function sendsAway(format) {
  test('a user is sent away', {timeout}, async (t) => {
    const name = fresh('ada');
    const [ada, bob] = await people(t, example, format, name, fresh('bob'));
    await example.api('disconnect', {user: name});
    const said = await ada.events.next('disconnected');
    assert.deepEqual(said, {event: 'disconnected', code: 3503, reason: 'force disconnect'});
    await subscribed(bob, fresh('fence'));
    bob.events.no('disconnected');
  });

  // Which codes end a client, and with which it comes back.
  for (const [code, back] of [[3011, true], [3501, false], [3999, false], [4000, true], [4499, true], [4500, false], [4999, false]]) {
    test(`sent away with ${code}`, {timeout}, async (t) => {
      const name = fresh('ada');
      const [ada] = await people(t, example, format, name);
      await ada.events.next('connecting');
      await example.api('disconnect', {user: name, disconnect: {code, reason: 'the backend says so'}});
      const said = await ada.events.next(back ? 'connecting' : 'disconnected');
      assert.deepEqual([said.code, said.reason], [code, 'the backend says so']);
      if (back) await ada.events.next('connected');
    });
  }

  test('one connection of a user, or all but one', {timeout}, async (t) => {
    const name = fresh('ada');
    const [first, second, third] = await people(t, example, format, name, name, name);
    await example.api('disconnect', {user: name, client: first.id});
    assert.equal((await first.events.next('disconnected')).code, 3503);
    await example.api('disconnect', {user: name, whitelist: [third.id]});
    assert.equal((await second.events.next('disconnected')).code, 3503);
    await subscribed(third, fresh('fence'));
    third.events.no('disconnected');
  });

  test('a connection expires when the backend says so', {timeout}, async (t) => {
    const name = fresh('ada');
    const [ada] = await people(t, example, format, name);
    await ada.events.next('connecting');
    await example.api('refresh', {user: name, expired: true});
    const {code, reason} = await ada.events.next('connecting');
    assert.deepEqual([code, reason], [3005, 'connection expired']);
    await ada.events.next('connected');
  });
}
