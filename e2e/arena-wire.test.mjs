// The page's side of the arena's wire format, held to the vectors that the
// server's side wrote.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';
import {decode, DIED, encode, nameError, PONG, SNAPSHOT, WireError} from '../examples/arena/web/wire.js';
import {World} from '../examples/arena/web/world.js';
import {seeded} from './lib/seeded.mjs';

const golden = JSON.parse(readFileSync(new URL('../examples/arena/testdata/golden.json', import.meta.url)));
const bytesOf = (hex) => Uint8Array.from(Buffer.from(hex, 'hex'));
const hexOf = (bytes) => Buffer.from(bytes).toString('hex');
const good = golden.server.filter(({message}) => message);

test('the vectors are there', () => {
  for (const part of ['client', 'server', 'sequence']) assert.ok(golden[part].length > 5, part);
  assert.equal(new Set(good.map(({message}) => message.kind)).size, 5, 'every kind of message');
});

for (const {name, hex, message} of golden.client.filter((vector) => vector.message)) {
  test(`to the server: ${name}`, () => {
    const given = {...message};
    if ('token' in given) given.token = bytesOf(given.token);
    for (const field of ['dx', 'dy', 'clock']) if (field in given) given[field] = Number(given[field]);
    assert.equal(hexOf(encode(given)), hex);
  });
}

for (const {name, hex, message, error} of golden.server) {
  test(`from the server: ${name}`, () => {
    if (error) return assert.throws(() => decode(bytesOf(hex)), {name: 'WireError', code: error});
    const got = decode(bytesOf(hex));
    if (got.token) got.token = hexOf(got.token);
    assert.deepEqual(got, message);
  });
}

// A world as the vectors describe it; as large as positions go, it keeps them as they are.
const viewOf = (world) => ({
  tick: world.tick,
  entities: [...world.entities.values()].sort((a, b) => a.id - b.id).map(({id, kind, owner, hue, name, past}) => {
    const {x, y, r} = past.at(-1);
    return {id, kind, owner, hue, name, x, y, radius: r * 16};
  }),
});

test('snapshots in turn', () => {
  const world = new World(65535, 7);
  for (const {name, hex, view, error} of golden.sequence) {
    const snapshot = decode(bytesOf(hex));
    if (error) assert.throws(() => world.apply(snapshot), {name: 'WireError', code: error}, name);
    else assert.deepEqual((world.apply(snapshot), viewOf(world)), view, name);
  }
});

test('what is cut off anywhere, or goes on, is refused', () => {
  for (const {name, hex} of good) {
    const bytes = bytesOf(hex);
    for (let n = 0; n < bytes.length; n++) {
      assert.throws(() => decode(bytes.subarray(0, n)), {name: 'WireError', code: 'truncated'}, `${name}, ${n} bytes`);
    }
    assert.throws(() => decode(new Uint8Array([...bytes, 0])), {name: 'WireError', code: 'trailing'}, name);
  }
});

test('a time that is none is refused', () => {
  for (const time of [NaN, Infinity, -Infinity]) {
    const pong = new DataView(new ArrayBuffer(17));
    pong.setUint8(0, PONG);
    pong.setFloat64(9, time, true);
    assert.throws(() => decode(new Uint8Array(pong.buffer)), {name: 'WireError', code: 'malformed'});
  }
});

test('text that is none, and a token beyond bounds', () => {
  const died = (name) => new Uint8Array([DIED, 1, 0, 0, 0, name.length, ...name, ...new Uint8Array(8)]);
  assert.equal(decode(died([0xc5, 0xbb])).byName, 'Ż');
  for (const name of [[0xff], [0xc5], [0xed, 0xa0, 0x80], [0xc0, 0x80]]) {
    assert.throws(() => decode(died(name)), {name: 'WireError', code: 'malformed'});
  }
  const welcome = (token) => new Uint8Array([...bytesOf(good[0].hex).subarray(0, 15), token & 255, token >> 8, ...new Uint8Array(token)]);
  assert.equal(decode(welcome(256)).token.length, 256);
  assert.throws(() => decode(welcome(257)), {name: 'WireError', code: 'malformed'});
});

test('a message inside a larger buffer is read from where it is', () => {
  const bytes = bytesOf(good[0].hex);
  const around = new Uint8Array([9, 9, 9, ...bytes, 9]);
  assert.deepEqual(decode(around.subarray(3, 3 + bytes.length)), decode(bytes));
});

// Whatever comes: an object or a WireError, never more items than bytes, and a
// world that stays whole or says so.
test('spoilt messages', {timeout: 60_000}, () => {
  const seed = Number(process.env.SEED ?? 1);
  const random = seeded(seed);
  const sources = [...golden.server, ...golden.sequence].map(({hex}) => bytesOf(hex)).filter(({length}) => length);
  const outcomes = {decoded: 0, applied: 0, truncated: 0, trailing: 0, unknown: 0, malformed: 0, base: 0, 'unknown entity': 0};
  for (let i = 0; i < 30_000; i++) {
    const bytes = spoil(random, sources[random.below(sources.length)]);
    try {
      const message = decode(bytes);
      outcomes.decoded++;
      if (message.kind !== SNAPSHOT) continue;
      assert.ok(message.removed.length + message.changed.length <= bytes.length);
      const world = new World(3000, 7);
      world.apply(decode(bytesOf(golden.sequence[1].hex)));
      world.apply(message);
      outcomes.applied++;
      for (const e of world.entities.values()) {
        const {x, y, r} = e.past.at(-1);
        assert.ok(x >= 0 && x <= 3000 && y >= 0 && y <= 3000 && r >= 0 && e.past.length <= 17);
      }
    } catch (error) {
      if (!(error instanceof WireError)) throw new Error(`seed ${seed}, round ${i}: ${hexOf(bytes)}`, {cause: error});
      outcomes[error.code]++;
    }
  }
  for (const [outcome, times] of Object.entries(outcomes)) assert.ok(times > 0, `none was ${outcome}: ${JSON.stringify(outcomes)}`);
});

function spoil(random, source) {
  const bytes = Uint8Array.from(source);
  for (let n = random.below(4); n >= 0; n--) bytes[random.below(bytes.length)] = random.below(256);
  if (random.below(4) === 0) return bytes.subarray(0, random.below(bytes.length + 1));
  if (random.below(8) === 0) return new Uint8Array([...bytes, random.below(256)]);
  return bytes;
}

test('names', () => {
  for (const name of ['A', 'Ada', 'sixteen letters!', 'Żółw 🐢', '🐢'.repeat(16), '아레나']) assert.equal(nameError(name), '', name);
  for (const name of ['', 'seventeen letters', '🐢'.repeat(17), 'a\u0000b', 'a\nb', 'a\u202eb']) {
    assert.notEqual(nameError(name), '', JSON.stringify(name));
  }
});
