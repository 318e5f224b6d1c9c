// examples/echo against npm's ws.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {Peer} from './lib/peer.mjs';
import {serve, stop} from './lib/server.mjs';

const timeout = 60_000;

// Every boundary of the three length encodings (RFC 6455 section 5.2), and a
// message that takes many reads and writes.
const sizes = [0, 1, 125, 126, 127, 65535, 65536, 1 << 20];

for (const perMessageDeflate of [false, true]) {
  test(`messages of every size come back, permessage-deflate ${perMessageDeflate ? '' : 'not '}offered`, {timeout}, async (t) => {
    const server = await serve(t, 'echo', '-mode', 'echo');
    const peer = await Peer.open(server.url, {perMessageDeflate});
    for (const size of sizes) {
      const data = Buffer.from(Uint8Array.from({length: size}, (_, i) => i * 31));
      peer.ws.send(data);
      const binary = await peer.next();
      assert.equal(binary.type, 'binary');
      assert.ok(data.equals(binary.data), `${size} bytes of binary came back changed`);

      const text = 'é€𝄞x'.repeat(Math.floor(size / 10)) + 'x'.repeat(size % 10);
      peer.ws.send(text);
      const echoed = await peer.next();
      assert.equal(echoed.type, 'text');
      assert.ok(text === echoed.data, `${size} bytes of text came back changed`);
    }
    assert.deepEqual(await peer.close(1000), {type: 'close', code: 1000, reason: ''});
  });
}

test('a thousand messages at once come back in order', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-mode', 'echo');
  const peer = await Peer.open(server.url);
  for (let i = 0; i < 1000; i++) peer.ws.send(`message ${i}`);
  for (let i = 0; i < 1000; i++) assert.deepEqual(await peer.next(), {type: 'text', data: `message ${i}`});
  peer.ws.terminate();
});

test('a ping is answered with its payload, also between fragments', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-mode', 'echo');
  const peer = await Peer.open(server.url, {perMessageDeflate: false});
  peer.ws.ping('alone');
  assert.deepEqual(await peer.next(), {type: 'pong', data: 'alone'});
  peer.ws.send('Hel', {fin: false});
  peer.ws.ping('between');
  peer.ws.send('', {fin: false});
  peer.ws.send('lo', {fin: true});
  assert.deepEqual(await peer.next(), {type: 'pong', data: 'between'});
  assert.deepEqual(await peer.next(), {type: 'text', data: 'Hello'});
  peer.ws.terminate();
});

test('a close is answered with its code', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-mode', 'echo');
  for (const [code, answer] of [[1000, 1000], [3000, 3000], [4999, 4999], [undefined, 1005]]) {
    const peer = await Peer.open(server.url);
    const got = await peer.close(code, code && 'bye');
    assert.equal(got.type, 'close');
    assert.equal(got.code, answer);
  }
});

test('a page of another origin is refused, one of our own is not', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-mode', 'echo');
  await assert.rejects(Peer.open(server.url, {origin: 'http://elsewhere.example'}), /403/);
  const peer = await Peer.open(server.url, {origin: `http://127.0.0.1:${server.port}`});
  peer.ws.terminate();
});

test('broadcast: what one sends, all receive', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-mode', 'broadcast');
  const a = await Peer.open(server.url);
  const b = await Peer.open(server.url);
  a.ws.send('from a');
  for (const peer of [a, b]) assert.deepEqual(await peer.next(), {type: 'text', data: 'from a'});
  b.ws.send(Buffer.from('from b'));
  for (const peer of [a, b]) assert.deepEqual(await peer.next(), {type: 'binary', data: Buffer.from('from b')});
  a.ws.terminate();
  b.ws.terminate();
});

test('SIGTERM: clients hear 1001, the program ends with 0', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-mode', 'broadcast');
  const peers = [await Peer.open(server.url), await Peer.open(server.url)];
  const stopped = stop(server);
  for (const peer of peers) {
    const got = await peer.next();
    assert.equal(got.type, 'close');
    assert.equal(got.code, 1001);
  }
  await stopped;
  await assert.rejects(Peer.open(server.url), /ECONNREFUSED/);
});
