// Clients whose connections are cut at bytes of chance lose nothing and get
// nothing twice. SEED=n does it at other bytes.
import assert from 'node:assert/strict';
import {EventEmitter, once} from 'node:events';
import {createInterface} from 'node:readline';
import {describe, test} from 'node:test';
import {Cutter} from './lib/cutter.mjs';
import {fresh, hub, token} from './lib/hub.mjs';
import {end, launch, within} from './lib/process.mjs';
import {client, formats, subscription} from './lib/sdk.mjs';
import {seeded} from './lib/seeded.mjs';
import {build} from './lib/server.mjs';

const timeout = 60_000;
const seed = Number(process.env.SEED ?? 1);
const example = hub('example');
const rounds = 10;
const cutsOfRound = 3;
const each = 32; // publications before a cut, so that there are the bytes to cut at
const ofRound = 100; // publications
const together = 4; // publications in a call of the API
const pad = 'x'.repeat(100);
const down = each * pad.length; // fewer bytes than come
const up = each * 20; // fewer bytes than a client sends, which asks something at each publication

// What a client gets, whichever it is.
class Got {
  numbers = [];
  offsets = [];
  subscribed = []; // what was said of recovery
  #events = new EventEmitter();

  publication({n}, offset) {
    this.numbers.push(n);
    this.offsets.push(offset);
    this.#events.emit('more');
  }

  said({wasRecovering, recovered}) {
    this.subscribed.push({wasRecovering, recovered});
    this.#events.emit('more');
  }

  until(what, passes) {
    const enough = async () => {
      while (!passes()) await once(this.#events, 'more');
    };
    return within(20_000, () => `${what} after ${this.numbers.at(-1)}`, enough());
  }
}

const followers = {};
for (const [format, {unpack}] of Object.entries(formats)) {
  followers[`npm centrifuge, ${format}`] = (t, url, channel, got) => {
    const centrifuge = client(t, url, format, {token: token({sub: 'ada'})});
    const sub = subscription(centrifuge, channel);
    sub.on('publication', ({data, offset}) => {
      got.publication(unpack(data), offset);
      sub.presenceStats().catch(() => {}); // the answer may be cut off
    });
    sub.on('subscribed', (said) => got.said(said));
    sub.subscribe();
    centrifuge.connect();
  };
  followers[`centrifuge-go, ${format}`] = async (t, url, channel, got) => {
    const go = launch(await build('e2e/hub/follow'), ['-url', url, '-token', token({sub: 'ada'}), '-channel', channel, '-format', format]);
    t.after(() => end(go, 'SIGTERM'));
    createInterface({input: go.child.stdout}).on('line', (line) => {
      const {subscribed, data, offset, ...said} = JSON.parse(line);
      if (subscribed) got.said(said);
      else got.publication(data, offset);
    });
  };
  followers[`npm centrifuge, server-side, ${format}`] = (t, url, channel, got) => {
    const centrifuge = client(t, url, format, {token: token({sub: 'ada', channels: [channel]})});
    centrifuge.on('publication', ({data, offset}) => {
      got.publication(unpack(data), offset);
      centrifuge.presenceStats(channel).catch(() => {});
    });
    centrifuge.on('subscribed', (said) => got.said(said));
    centrifuge.connect();
  };
}

// The first cut of a round falls into what is going on, the others into connecting
// and recovering, or soon after.
function plan(random, opening) {
  const either = (above) => (random.below(2) ? {down: random.below(down)} : {up: random.below(above)});
  return [either(up), ...Array.from({length: cutsOfRound - 1}, () => either(opening))];
}

// Publishes what belongs to a round, until the client has it all.
async function play(round, channel, cutter, got) {
  for (let i = 0; i < ofRound; i += together) {
    const numbers = Array.from({length: together}, (_, k) => round * ofRound + i + k + 1);
    await example.api('batch', {commands: numbers.map((n) => ({publish: {channel, data: {n, pad}}}))});
    if ((i + together) % each === 0) await cutter.cut(round * cutsOfRound + (i + together) / each);
  }
  const last = (round + 1) * ofRound;
  await got.until(`publication ${last}`, () => got.numbers.includes(last));
}

describe(`${rounds * ofRound} publications, ${rounds * cutsOfRound} cuts, seed ${seed}`, {concurrency: true}, () => {
  for (const [i, [name, follow]] of Object.entries(followers).entries()) {
    test(name, {timeout}, async (t) => {
      const random = seeded(seed * 100 + i);
      const cutter = await Cutter.before(t, example.port);
      const channel = fresh('cuts');
      const got = new Got();
      await follow(t, `ws://127.0.0.1:${cutter.port}/connection/websocket`, channel, got);
      await got.until('being subscribed', () => got.subscribed.length > 0);
      const opening = cutter.up;
      for (let round = 0; round < rounds; round++) {
        cutter.follow(plan(random, opening));
        await play(round, channel, cutter, got);
      }
      for (const list of [got.numbers, got.offsets]) {
        const wrong = list.findIndex((n, at) => n !== at + 1);
        assert.equal(wrong, -1, `after ${wrong}: ${list.slice(wrong, wrong + 10)}`);
        assert.equal(list.length, rounds * ofRound);
      }
      assert.equal(cutter.cuts, rounds * cutsOfRound);
      assert.deepEqual(got.subscribed.shift(), {wasRecovering: false, recovered: false});
      assert.ok(got.subscribed.length >= rounds);
      for (const said of got.subscribed) assert.deepEqual(said, {wasRecovering: true, recovered: true});
    });
  }
});
