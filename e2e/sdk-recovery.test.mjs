// npm centrifuge comes back: what it missed, what cannot be proven, and positions of
// its own.
import assert from 'node:assert/strict';
import {describe, test} from 'node:test';
import {fresh, hub} from './lib/hub.mjs';
import {formats, people, subscribed} from './lib/sdk.mjs';

const timeout = 30_000;
const example = hub('example');
const full = hub('full');

describe('npm centrifuge comes back', {concurrency: true}, () => {
  for (const [format, codec] of Object.entries(formats)) {
    describe(format, {concurrency: true}, () => cases(format, codec));
  }
});

function cases(format, {pack, unpack}) {
  // Takes a client away, does that meanwhile, and waits until it is back in the channel.
  const whileAway = async (centrifuge, sub, meanwhile) => {
    centrifuge.disconnect();
    await meanwhile();
    centrifuge.connect();
    return sub.events.next('subscribed');
  };
  // The same, while these are published.
  const away = (server, centrifuge, sub, ...values) => whileAway(centrifuge, sub, async () => {
    for (const data of values) await server.api('publish', {channel: sub.channel, data});
  });
  const recovered = ({wasRecovering, recovered: whether, hasRecoveredPublications}) => [wasRecovering, whether, hasRecoveredPublications];
  const gets = async (sub, ...values) => {
    for (const value of values) assert.equal(unpack((await sub.events.next('publication')).data), value);
  };

  test('what was missed is recovered', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const sub = await subscribed(ada, fresh('missed'));
    await sub.publish(pack(1));
    await gets(sub, 1);
    assert.deepEqual(recovered(await away(example, ada, sub, 2, 3)), [true, true, true]);
    await gets(sub, 2, 3);
    assert.deepEqual(recovered(await away(example, ada, sub)), [true, true, false]);
    await sub.publish(pack(4));
    await gets(sub, 4);
    sub.events.no('publication');
  });

  test('what is no longer there is not called recovered', {timeout}, async (t) => {
    const [ada] = await people(t, full, format, 'ada');
    const sub = await subscribed(ada, `short:${fresh('x')}`);
    await sub.publish(pack(1));
    await gets(sub, 1);
    assert.deepEqual(recovered(await away(full, ada, sub, 2, 3, 4, 5, 6)), [true, true, true]);
    await gets(sub, 2, 3, 4, 5, 6);
    const said = await away(full, ada, sub, 7, 8, 9, 10, 11, 12);
    assert.deepEqual(recovered(said), [true, false, false]);
    assert.equal(said.streamPosition.offset, 12);
    await sub.publish(pack(13));
    await gets(sub, 13);
    const removed = await whileAway(ada, sub, async () => {
      await full.api('publish', {channel: sub.channel, data: 14});
      await full.api('history_remove', {channel: sub.channel});
    });
    assert.deepEqual(recovered(removed), [true, false, false]);
  });

  test('a position of one\'s own to begin at', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const channel = fresh('since');
    const {epoch} = await example.api('publish', {channel, data: 1});
    for (const data of [2, 3]) await example.api('publish', {channel, data});
    const sub = await subscribed(ada, channel, {since: {offset: 1, epoch}});
    assert.deepEqual(recovered(sub.said), [true, true, true]);
    await gets(sub, 2, 3);
    sub.unsubscribe();
    ada.removeSubscription(sub);
    const other = await subscribed(ada, channel, {since: {offset: 1, epoch: 'another'}});
    assert.deepEqual(recovered(other.said), [true, false, false]);
    other.unsubscribe();
    ada.removeSubscription(other);
    const future = await subscribed(ada, channel, {since: {offset: 9, epoch}});
    assert.deepEqual(recovered(future.said), [true, false, false]);
  });

  test('a state of the application\'s own, with its position', {timeout}, async (t) => {
    const [ada] = await people(t, example, format, 'ada');
    const channel = fresh('state');
    const {epoch} = await example.api('publish', {channel, data: 1});
    await example.api('publish', {channel, data: 2});
    const positions = [{offset: 1, epoch: 'another'}, {offset: 1, epoch}];
    const sub = await subscribed(ada, channel, {getState: async () => positions.shift()});
    assert.deepEqual(positions, []); // the first was refused, with 112
    assert.deepEqual(recovered(sub.said), [true, true, true]);
    await gets(sub, 2);
  });

  test('where only the latest matters, it is what comes back', {timeout}, async (t) => {
    const [ada, bob] = await people(t, full, format, 'ada', 'bob');
    const channel = `cache:${fresh('x')}`;
    const sub = await subscribed(ada, channel);
    await sub.publish(pack(1));
    await gets(sub, 1);
    assert.deepEqual(recovered(await away(full, ada, sub, 2, 3, 4)), [true, true, true]);
    await gets(sub, 4);
    assert.deepEqual(recovered(await away(full, ada, sub)), [true, true, false]);
    await sub.publish(pack(5));
    await gets(sub, 5);
    sub.events.no('publication');
    const late = await subscribed(bob, channel, {since: {offset: 0, epoch: ''}});
    assert.deepEqual(recovered(late.said), [true, true, true]);
    await gets(late, 5);
    late.events.no('publication');
  });
}
