// npm centrifuge in channels: publications, who is here, history, and who may do
// what.
import assert from 'node:assert/strict';
import {EventEmitter, once} from 'node:events';
import {describe, test} from 'node:test';
import {fresh, hub, inSeconds, token} from './lib/hub.mjs';
import {fails, formats, people, subscribed, subscription} from './lib/sdk.mjs';

const timeout = 30_000;
const example = hub('example');
const full = hub('full');

describe('npm centrifuge in channels', {concurrency: true}, () => {
  for (const [format, codec] of Object.entries(formats)) {
    describe(format, {concurrency: true}, () => {
      talk(format, codec);
      ask(format, codec);
      may(format, codec);
    });
  }
});

function talk(format, {pack, unpack}) {
  const who = ({client: id, user, connInfo}) => [id, user, unpack(connInfo)];

  test('all who follow a channel get what one of them publishes', {timeout}, async (t) => {
    const [ada, bob] = await people(t, example, format, 'ada', 'bob');
    const channel = fresh('talk');
    const [a, b] = [await subscribed(ada, channel), await subscribed(bob, channel)];
    const {recoverable, positioned, recovered, wasRecovering, streamPosition} = a.said;
    assert.deepEqual({recoverable, positioned, recovered, wasRecovering}, {recoverable: true, positioned: true, recovered: false, wasRecovering: false});
    assert.equal(streamPosition.offset, 0);
    assert.ok(streamPosition.epoch);
    assert.deepEqual(b.said.streamPosition, streamPosition);

    const values = [{text: 'é€𝄞 </script>'}, 'text', 12.5, [1, [2]], true, {deep: {deeper: {n: null}}}];
    for (const value of values) await a.publish(pack(value));
    for (const sub of [a, b]) {
      for (const [i, value] of values.entries()) {
        const {data, offset, info, channel: where} = await sub.events.next('publication');
        assert.deepEqual(unpack(data), value);
        assert.deepEqual([where, offset, ...who(info)], [channel, i + 1, ada.id, 'ada', {nick: 'ADA'}]);
      }
    }
    await ada.publish(channel, pack('not by its subscription'));
    assert.equal(unpack((await b.events.next('publication')).data), 'not by its subscription');
  });

  test('who comes and who goes', {timeout}, async (t) => {
    const [ada, bob] = await people(t, example, format, 'ada', 'bob');
    const channel = fresh('join');
    const a = await subscribed(ada, channel, {joinLeave: true});
    assert.deepEqual(who((await a.events.next('join')).info), [ada.id, 'ada', {nick: 'ADA'}]);
    const b = await subscribed(bob, channel);
    assert.deepEqual(who((await a.events.next('join')).info), [bob.id, 'bob', {nick: 'BOB'}]);
    b.unsubscribe();
    assert.deepEqual(who((await a.events.next('leave')).info), [bob.id, 'bob', {nick: 'BOB'}]);
    b.subscribe();
    await a.events.next('join');
    bob.disconnect();
    assert.deepEqual(who((await a.events.next('leave')).info), [bob.id, 'bob', {nick: 'BOB'}]);
    b.events.no('join'); // it did not ask for them
  });

  test('a client that unsubscribed gets nothing more', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const sub = await subscribed(ada, fresh('over'));
    sub.unsubscribe();
    assert.deepEqual([(await sub.events.next('unsubscribed')).code, sub.state], [0, 'unsubscribed']);
    await fails(103, ada.publish(sub.channel, pack({}))); // the server has it, too
    await example.api('publish', {channel: sub.channel, data: 1});
    await subscribed(ada, fresh('fence'));
    sub.events.no('publication');
  });
}

function ask(format, {pack, unpack}) {
  test('presence', {timeout}, async (t) => {
    const [ada, second, bob] = await people(t, example, format, 'ada', 'ada', 'bob');
    const channel = fresh('presence');
    const a = await subscribed(ada, channel);
    await subscribed(second, channel);
    const b = await subscribed(bob, channel);
    const {clients} = await a.presence();
    const users = Object.entries(clients).map(([id, {user, client: same}]) => [id, same, user]);
    assert.deepEqual(users.sort(), [[ada.id, ada.id, 'ada'], [second.id, second.id, 'ada'], [bob.id, bob.id, 'bob']].sort());
    assert.deepEqual(await ada.presenceStats(channel), {numClients: 3, numUsers: 2});
    b.unsubscribe();
    second.disconnect();
    const alone = async () => (await a.presenceStats()).numClients === 1 || alone();
    await alone();
    assert.deepEqual(Object.keys((await ada.presence(channel)).clients), [ada.id]);
  });

  test('history', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const channel = fresh('history');
    const sub = await subscribed(ada, channel);
    for (let n = 1; n <= 5; n++) await sub.publish(pack(n));
    const {epoch} = sub.said.streamPosition;
    const get = async (query) => {
      const {publications, offset, epoch: same} = await sub.history(query);
      assert.deepEqual([offset, same], [5, epoch]);
      for (const p of publications) assert.deepEqual([unpack(p.data), p.info.user], [p.offset, 'ada']);
      return publications.map((p) => p.offset);
    };
    const since = (offset) => ({since: {offset, epoch}});
    assert.deepEqual(await get({}), []);
    assert.deepEqual(await get({limit: 3}), [1, 2, 3]);
    assert.deepEqual(await get({limit: 100}), [1, 2, 3, 4, 5]);
    assert.deepEqual(await get({limit: -1}), [1, 2, 3, 4, 5]);
    assert.deepEqual(await get({limit: 3, reverse: true}), [5, 4, 3]);
    assert.deepEqual(await get({limit: 2, ...since(1)}), [2, 3]);
    assert.deepEqual(await get({limit: 10, ...since(5)}), []);
    assert.deepEqual(await get({limit: 10, reverse: true, ...since(4)}), [3, 2, 1]);
    await fails(112, sub.history({limit: 10, since: {offset: 1, epoch: 'another'}}));
  });
}

function may(format, {pack}) {
  test('only who follows a channel may publish there and ask about it', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const channel = fresh('others');
    await fails(103, ada.publish(channel, pack({})));
    await fails(103, ada.presence(channel));
    await fails(103, ada.presenceStats(channel));
    await fails(103, ada.history(channel, {limit: 1}));
    const sub = await subscribed(ada, channel);
    await ada.publish(channel, pack({}));
    sub.unsubscribe();
    await fails(103, ada.publish(channel, pack({})));
  });

  test('namespaces differ in what is allowed', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const bare = await subscribed(ada, `bare:${fresh('x')}`, {recoverable: true, positioned: true, joinLeave: true});
    assert.equal(bare.said.recoverable, false);
    await fails(103, bare.publish(pack({})));
    await fails(108, bare.presence());
    await fails(108, bare.presenceStats());
    await fails(108, bare.history({limit: 1}));
    const open = `open:${fresh('x')}`;
    await ada.publish(open, pack(1));
    const sub = await subscribed(ada, open);
    await ada.publish(open, pack(2));
    assert.equal((await sub.events.next('publication')).offset, undefined);
    await full.api('publish', {channel: bare.channel, data: {}});
    await bare.events.next('publication');
    bare.events.no('join');
  });

  test('a namespace that there is not', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const sub = subscription(ada, 'nowhere:x');
    sub.subscribe();
    const {code, reason} = await sub.events.next('unsubscribed');
    assert.deepEqual([code, reason], [102, 'unknown channel']);
    await fails(102, ada.publish('nowhere:x', pack({})));
  });

  test('no more channels than are allowed', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const channel = fresh('many');
    const all = await Promise.all(Array.from({length: 128}, (_, n) => subscribed(ada, `${channel}-${n}`)));
    const one = subscription(ada, fresh('one'));
    one.subscribe();
    const {code, reason} = await one.events.next('unsubscribed');
    assert.deepEqual([code, reason], [106, 'limit exceeded']);
    all[0].unsubscribe();
    one.subscribe();
    await one.events.next('subscribed');
  });

  test('a channel for some users', {timeout}, async (t) => {
    const [ada, bob, eve] = await people(t, example, format, 'ada', 'bob', 'eve');
    const channel = `${fresh('room')}#ada,bob`;
    const [a, b] = [await subscribed(ada, channel), await subscribed(bob, channel)];
    await a.publish(pack('secret'));
    await b.events.next('publication');
    const e = subscription(eve, channel);
    e.subscribe();
    const {code, reason} = await e.events.next('unsubscribed');
    assert.deepEqual([code, reason], [103, 'permission denied']);
    assert.equal((await a.presenceStats()).numClients, 2);
  });

  test('a channel that needs a token', {timeout}, async (t) => {
    const [ada, bob] = await people(t, example, format, 'ada', 'bob');
    const channel = `$${fresh('private')}`;
    const refused = subscription(ada, channel);
    refused.subscribe();
    assert.equal((await refused.events.next('unsubscribed')).code, 103);
    ada.removeSubscription(refused);
    const asked = [];
    const a = await subscribed(ada, channel, {
      getToken: async ({channel: of}) => { asked.push(of); return token({sub: 'ada', channel, info: {role: 'owner'}}); },
    });
    assert.deepEqual(asked, [channel]);
    const {clients} = await a.presence();
    assert.deepEqual(formats[format].unpack(clients[ada.id].chanInfo), {role: 'owner'});
    await a.publish(pack({}));
    const {info} = await a.events.next('publication');
    assert.deepEqual(formats[format].unpack(info.chanInfo), {role: 'owner'});

    const forged = subscription(bob, channel, {token: token({sub: 'bob', channel}, {key: 'another'})});
    forged.subscribe();
    assert.equal((await forged.events.next('unsubscribed')).code, 103);
    bob.removeSubscription(forged);
    const borrowed = subscription(bob, channel, {token: token({sub: 'ada', channel})});
    borrowed.subscribe();
    const said = await bob.events.next('disconnected');
    assert.deepEqual(said, {event: 'disconnected', code: 3500, reason: 'invalid token'});
  });

  test('a token for a channel is refreshed', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const channel = `$${fresh('private')}`;
    const asking = new EventEmitter();
    const short = () => token({sub: 'ada', channel, exp: inSeconds(2)});
    const sub = await subscribed(ada, channel, {token: short(), getToken: async () => { asking.emit('asked'); return short(); }});
    await once(asking, 'asked');
    await once(asking, 'asked'); // by now the first has been expired for longer than the server bears
    await sub.publish(pack({}));
    await sub.events.next('publication');
    await sub.events.next('subscribing');
    sub.events.no('subscribing');
    ada.events.no('error');
    sub.events.no('error');
  });

  test('a token for a channel that is not refreshed ends the subscription, which is tried again', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const channel = `$${fresh('private')}`;
    const asking = new EventEmitter();
    const sub = await subscribed(ada, channel, {
      token: token({sub: 'ada', channel, exp: inSeconds(2)}), getToken: () => new Promise(() => asking.emit('asked')),
    });
    await sub.events.next('subscribing');
    await once(asking, 'asked');
    const {code, reason} = await sub.events.next('subscribing');
    assert.deepEqual([code, reason], [2501, 'subscription expired']);
    const {error} = await sub.events.next('error');
    assert.equal(error.code, 109);
  });

  test('an expired token for a channel is replaced', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const channel = `$${fresh('private')}`;
    const sub = await subscribed(ada, channel, {
      token: token({sub: 'ada', channel, exp: inSeconds(-60)}), getToken: async () => token({sub: 'ada', channel}),
    });
    const {error} = await sub.events.next('error');
    assert.deepEqual([error.code, error.message], [109, 'token expired']);
  });
}
