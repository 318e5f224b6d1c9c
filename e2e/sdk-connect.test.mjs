// npm centrifuge connects: tokens and their refresh, RPC, batches, pings, and the
// codes with which it is sent away.
import assert from 'node:assert/strict';
import {EventEmitter, once} from 'node:events';
import {describe, test} from 'node:test';
import WebSocket from 'ws';
import {fresh, hub, inSeconds, reference, token} from './lib/hub.mjs';
import {Proxy} from './lib/proxy.mjs';
import {client, connected, fails, formats, subscribed} from './lib/sdk.mjs';

const timeout = 30_000;
const example = hub('example');
const full = hub('full');
const lonely = hub('example'); // of one test, which restarts it

test('a server that restarts says so, and knows of no history', {timeout}, async (t) => {
  const subs = await Promise.all(Object.keys(formats).map(async (format) => {
    const ada = await connected(t, lonely.url, format, {token: token({sub: 'ada'})});
    await ada.events.next('connecting');
    return [ada, await subscribed(ada, fresh(format))];
  }));
  for (const [, sub] of subs) {
    await lonely.api('publish', {channel: sub.channel, data: 1});
    await sub.events.next('publication');
  }
  await lonely.restart();
  for (const [ada, sub] of subs) {
    const {code, reason} = await ada.events.next('connecting');
    assert.deepEqual([code, reason], [3001, 'shutdown']);
    const {wasRecovering, recovered, streamPosition} = await sub.events.next('subscribed');
    assert.deepEqual([wasRecovering, recovered, streamPosition.offset], [true, false, 0]);
    assert.notEqual(streamPosition.epoch, sub.said.streamPosition.epoch);
  }
});

describe('npm centrifuge connects', {concurrency: true}, () => {
  for (const [format, codec] of Object.entries(formats)) {
    describe(format, {concurrency: true}, () => cases(format, codec));
  }
});

function cases(format, {pack, unpack}) {
  test('a token says who it is', {timeout}, async (t) => {
    const ada = await connected(t, example.url, format, {token: token({sub: 'ada', info: {nick: 'Ada'}, exp: inSeconds(600)})});
    assert.ok(ada.id);
    const sub = await subscribed(ada, fresh('who'));
    const {clients} = await sub.presence();
    assert.deepEqual(Object.keys(clients), [ada.id]);
    const {client: id, user, connInfo} = clients[ada.id];
    assert.deepEqual([id, user, unpack(connInfo)], [ada.id, 'ada', {nick: 'Ada'}]);
  });

  const wrong = {
    // Neither of the two comes back; ours says why.
    none: [undefined, ...(reference ? [3501, 'bad request'] : [101, 'unauthorized'])],
    'one that is none': ['x', 3500, 'invalid token'],
    'another key': [token({sub: 'ada'}, {key: 'another'}), 3500, 'invalid token'],
    'alg none': [token({sub: 'ada'}, {alg: 'none'}), 3500, 'invalid token'],
    'a token for a channel': [token({sub: 'ada', channel: 'x'}), 3500, 'invalid token'],
  };
  for (const [what, [bad, code, reason]] of Object.entries(wrong)) {
    test(`a token refused: ${what}`, {timeout}, async (t) => {
      const ada = client(t, example.url, format, {token: bad});
      ada.connect();
      const said = await ada.events.next('disconnected');
      assert.deepEqual(said, {event: 'disconnected', code, reason});
    });
  }

  test('an expired token is replaced', {timeout}, async (t) => {
    const ada = client(t, example.url, format, {
      token: token({sub: 'ada', exp: inSeconds(-60)}), getToken: async () => token({sub: 'ada'}),
    });
    ada.connect();
    const {error} = await ada.events.next('error');
    assert.deepEqual([error.code, error.message], [109, 'token expired']);
    await ada.events.next('connected');
  });

  test('a token is refreshed, on the same connection', {timeout}, async (t) => {
    const asking = new EventEmitter();
    const short = () => token({sub: 'ada', exp: inSeconds(2)});
    const ada = await connected(t, full.url, format, {
      token: short(), getToken: async () => { asking.emit('asked'); return short(); },
    });
    await ada.events.next('connecting');
    await once(asking, 'asked');
    await once(asking, 'asked'); // by now the first token has been expired for longer than the server bears
    await ada.rpc('echo', pack({}));
    ada.events.no('error');
    ada.events.no('connecting');
  });

  test('a token that is not refreshed ends the connection, which comes back', {timeout}, async (t) => {
    const asking = new EventEmitter();
    const ada = await connected(t, full.url, format, {
      token: token({sub: 'ada', exp: inSeconds(2)}), getToken: () => new Promise(() => asking.emit('asked')),
    });
    await ada.events.next('connecting');
    await once(asking, 'asked');
    const {code, reason} = await ada.events.next('connecting');
    assert.deepEqual([code, reason], [3005, 'connection expired']);
  });

  test('a token of somebody else is no refresh', {timeout}, async (t) => {
    const ada = await connected(t, full.url, format, {
      token: token({sub: 'ada', exp: inSeconds(2)}), getToken: async () => token({sub: 'bob'}),
    });
    const said = await ada.events.next('disconnected');
    assert.deepEqual(said, {event: 'disconnected', code: 3500, reason: 'invalid token'});
  });

  test('RPC', {timeout}, async (t) => {
    const ada = await connected(t, full.url, format, {token: token({sub: 'ada'})});
    const value = {text: 'é€𝄞', list: [1, null, {}]};
    assert.deepEqual(unpack((await ada.rpc('echo', pack(value))).data), value);
    assert.deepEqual(unpack((await ada.rpc('whoami', pack({}))).data), {user: 'ada'});
    await assert.rejects(ada.rpc('fail', pack({})), {code: 4000, message: 'no luck', temporary: true});
    await fails(104, ada.rpc('unknown', pack({})));
    await assert.rejects(ada.rpc('leave', pack({})));
    const said = await ada.events.next('disconnected');
    assert.deepEqual(said, {event: 'disconnected', code: 4500, reason: 'you asked for it'});
  });

  test('many calls at once are answered each by its own', {timeout}, async (t) => {
    const ada = await connected(t, full.url, format, {token: token({sub: 'ada'})});
    const numbers = Array.from({length: 200}, (_, n) => n);
    const answers = await Promise.all(numbers.map((n) => ada.rpc('echo', pack({n}))));
    assert.deepEqual(answers.map(({data}) => unpack(data).n), numbers);
  });

  test('a message that nobody takes', {timeout}, async (t) => {
    const ada = await connected(t, full.url, format, {token: token({sub: 'ada'})});
    await ada.send(pack({}));
    const said = await ada.events.next('disconnected');
    assert.deepEqual(said, {event: 'disconnected', code: 3508, reason: 'not available'});
  });

  test('a batch is one frame', {timeout}, async (t) => {
    const frames = [];
    class Watched extends WebSocket {
      send(data, ...rest) {
        frames.push(data);
        super.send(data, ...rest);
      }
    }
    const ada = await connected(t, example.url, format, {token: token({sub: 'ada'}), websocket: Watched});
    const channel = fresh('batch');
    const sub = await subscribed(ada, channel);
    frames.length = 0;
    ada.startBatching();
    const all = Promise.all([1, 2, 3].map((n) => sub.publish(pack({n}))).concat(sub.history({limit: 10}), sub.presenceStats()));
    ada.stopBatching();
    const [, , , history, stats] = await all;
    assert.equal(frames.length, 1, 'frames');
    assert.deepEqual(history.publications.map(({data}) => unpack(data).n), [1, 2, 3]);
    assert.equal(stats.numClients, 1);
    for (const n of [1, 2, 3]) assert.equal(unpack((await sub.events.next('publication')).data).n, n);
  });

  test('who answers no ping is sent away and comes back', {timeout}, async (t) => {
    const proxy = await Proxy.before(t, full.port);
    const ada = await connected(t, `ws://127.0.0.1:${proxy.port}/connection/websocket`, format, {token: token({sub: 'ada'})});
    await ada.events.next('connecting');
    proxy.deafen();
    const {code, reason} = await ada.events.next('connecting');
    assert.deepEqual([code, reason], [3012, 'no pong']);
    await ada.events.next('connected');
  });

  test('a server that no longer pings is left for another try', {timeout}, async (t) => {
    const proxy = await Proxy.before(t, full.port);
    const ada = await connected(t, `ws://127.0.0.1:${proxy.port}/connection/websocket`, format,
      {token: token({sub: 'ada'}), maxServerPingDelay: 500});
    await ada.events.next('connecting');
    proxy.silence();
    const {code, reason} = await ada.events.next('connecting');
    assert.deepEqual([code, reason], [2, 'no ping']);
    await ada.events.next('connected');
  });

  test('a command larger than the server takes', {timeout}, async (t) => {
    const ada = await connected(t, example.url, format, {token: token({sub: 'ada'})});
    const sub = await subscribed(ada, fresh('large'));
    const large = 'x'.repeat(60_000);
    await sub.publish(pack(large));
    assert.equal(unpack((await sub.events.next('publication')).data), large);
    await assert.rejects(sub.publish(pack('x'.repeat(100_000))));
    const said = await ada.events.next('disconnected');
    assert.deepEqual(said, {event: 'disconnected', code: 3, reason: 'message size limit exceeded'});
  });
}
