// Server-side subscriptions of npm centrifuge: from its token, and what it missed.
import assert from 'node:assert/strict';
import {describe, test} from 'node:test';
import {fresh, hub, token} from './lib/hub.mjs';
import {client, connected, formats, subscribed} from './lib/sdk.mjs';

const timeout = 30_000;
const example = hub('example');
const full = hub('full');

describe('server-side subscriptions of npm centrifuge', {concurrency: true}, () => {
  for (const [format, codec] of Object.entries(formats)) {
    describe(format, {concurrency: true}, () => cases(format, codec));
  }
});

function cases(format, {pack, unpack}) {
  const gets = async (centrifuge, channel, ...values) => {
    for (const value of values) {
      const {data} = await centrifuge.events.next('publication', (e) => e.channel === channel);
      assert.equal(unpack(data), value);
    }
  };
  // Takes a client away while these are published, and waits until it is back in the channel.
  const away = async (server, centrifuge, channel, ...values) => {
    centrifuge.disconnect();
    await centrifuge.events.next('disconnected');
    for (const data of values) await server.api('publish', {channel, data});
    centrifuge.connect();
    await centrifuge.events.next('connected');
    const {wasRecovering, recovered} = await centrifuge.events.next('subscribed', (e) => e.channel === channel);
    return [wasRecovering, recovered];
  };

  test('the channels of a token', {timeout}, async (t) => {
    const [one, two] = [fresh('one'), fresh('two')];
    const ada = await connected(t, example.url, format, {token: token({sub: 'ada', channels: [one, two]})});
    for (const channel of [one, two]) {
      const said = await ada.events.next('subscribed', (e) => e.channel === channel);
      assert.deepEqual([said.recoverable, said.streamPosition.offset], [true, 0]);
      await ada.publish(channel, pack(1));
      const {info, offset, data} = await ada.events.next('publication', (e) => e.channel === channel);
      assert.deepEqual([info.client, info.user, offset, unpack(data)], [ada.id, 'ada', 1, 1]);
      assert.deepEqual(Object.keys((await ada.presence(channel)).clients), [ada.id]);
      assert.equal((await ada.history(channel, {limit: 5})).publications.length, 1);
    }
  });

  test('the subs of a token, with info and data', {timeout}, async (t) => {
    const channel = fresh('subs');
    const bob = await connected(t, example.url, format, {token: token({sub: 'bob'})});
    const watching = await subscribed(bob, channel, {joinLeave: true});
    await watching.events.next('join');
    const ada = await connected(t, example.url, format, {
      token: token({sub: 'ada', subs: {[channel]: {info: {role: 'owner'}, data: {hello: 1}}}}),
    });
    assert.deepEqual(unpack((await ada.events.next('subscribed')).data), {hello: 1});
    const {info} = await watching.events.next('join');
    assert.deepEqual([info.client, info.user, unpack(info.chanInfo)], [ada.id, 'ada', {role: 'owner'}]);
    ada.disconnect();
    assert.equal((await watching.events.next('leave')).info.client, ada.id);
  });

  test('a private channel by the token, and no other', {timeout}, async (t) => {
    const channel = `$${fresh('mine')}`;
    const ada = await connected(t, example.url, format, {token: token({sub: 'ada', channels: [channel]})});
    await ada.events.next('subscribed');
    await example.api('publish', {channel, data: 1});
    await gets(ada, channel, 1);
  });

  test('what was missed is recovered at connect', {timeout}, async (t) => {
    const [one, two] = [fresh('one'), fresh('two')];
    const ada = await connected(t, example.url, format, {token: token({sub: 'ada', channels: [one, two]})});
    for (const channel of [one, two]) {
      await ada.events.next('subscribed', (e) => e.channel === channel);
      await example.api('publish', {channel, data: 1});
      await gets(ada, channel, 1);
    }
    assert.deepEqual(await away(example, ada, one, 2, 3), [true, true]);
    assert.deepEqual((await ada.events.next('subscribed', (e) => e.channel === two)).recovered, true);
    await gets(ada, one, 2, 3);
    await example.api('publish', {channel: one, data: 4});
    await gets(ada, one, 4);
    ada.events.no('publication');
  });

  test('what is no longer there is not called recovered', {timeout}, async (t) => {
    const channel = `short:${fresh('x')}`;
    const ada = await connected(t, full.url, format, {token: token({sub: 'ada', channels: [channel]})});
    await ada.events.next('subscribed');
    await full.api('publish', {channel, data: 1});
    await gets(ada, channel, 1);
    assert.deepEqual(await away(full, ada, channel, 2, 3, 4, 5, 6), [true, true]);
    await gets(ada, channel, 2, 3, 4, 5, 6);
    assert.deepEqual(await away(full, ada, channel, 7, 8, 9, 10, 11, 12), [true, false]);
    await full.api('publish', {channel, data: 13});
    await gets(ada, channel, 13);
    ada.events.no('publication');
  });

  test('where only the latest matters', {timeout}, async (t) => {
    const channel = `cache:${fresh('x')}`;
    const ada = await connected(t, full.url, format, {token: token({sub: 'ada', channels: [channel]})});
    await ada.events.next('subscribed');
    assert.deepEqual(await away(full, ada, channel, 1, 2, 3), [true, true]);
    await gets(ada, channel, 3);
    ada.events.no('publication');
  });

  test('an unknown channel in a token', {timeout}, async (t) => {
    const ada = client(t, full.url, format, {token: token({sub: 'ada', channels: ['nowhere:x']})});
    ada.connect();
    const {code, reason} = await ada.events.next('disconnected');
    assert.deepEqual([code, reason], [102, 'unknown channel']);
  });
}
