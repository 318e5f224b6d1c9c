// Frames that break RFC 6455: each is answered by its close code, then the
// server ends the TCP connection.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {closeCode, exchange, frame, frames, request, response} from './lib/raw.mjs';
import {shared} from './lib/server.mjs';

const timeout = 30_000;
// One server for all: what breaks off one connection must not disturb the next.
const server = shared('echo', '-mode', 'echo');
const [continuation, text, binary, close, ping] = [0, 1, 2, 8, 9];
const code = (n) => Buffer.from([n >> 8, n & 255]);

const violations = [
  ['an unmasked frame', 1002, frame(text, 'hello', {mask: false})],
  ['RSV1 without an extension', 1002, frame(text, 'hello', {rsv: 4})],
  ['RSV2', 1002, frame(text, 'hello', {rsv: 2})],
  ['RSV3', 1002, frame(text, 'hello', {rsv: 1})],
  ['reserved opcode 3', 1002, frame(3)],
  ['reserved opcode 11', 1002, frame(11)],
  ['a fragmented ping', 1002, frame(ping, '', {fin: false})],
  ['a ping of 126 bytes', 1002, frame(ping, 'x'.repeat(126))],
  ['a continuation of nothing', 1002, frame(continuation, 'x')],
  ['a new message inside a message', 1002, frame(text, 'a', {fin: false}), frame(text, 'b')],
  ['8 bytes for a length of 1', 1002, frame(text, 'x', {length: 1n})],
  ['a length of 2^63', 1002, frame(binary, '', {length: 1n << 63n})],
  ['a close of one byte', 1002, frame(close, 'x')],
  ['a close with 1005', 1002, frame(close, code(1005))],
  ['a close with 999', 1002, frame(close, code(999))],
  ['text that is not UTF-8', 1007, frame(text, Buffer.from([0xc3, 0x28]))],
  ['text that is cut inside a code point', 1007, frame(text, Buffer.from([0xe2, 0x82]))],
  ['a surrogate, at once and not at the end', 1007, frame(text, Buffer.from([0xed, 0xa0]), {fin: false})],
  ['a close reason that is not UTF-8', 1007, frame(close, Buffer.concat([code(1000), Buffer.from([0xff])]))],
  ['a message of 2^40 bytes', 1009, frame(binary, '', {length: 1n << 40n})],
];

for (const [what, want, ...bytes] of violations) {
  test(`${what}: ${want}`, {timeout}, async () => {
    const got = await exchange(server.port, Buffer.concat([Buffer.from(request()), ...bytes]));
    assert.equal(response(got).status, 101);
    assert.equal(closeCode(got), want);
  });
}

test('frames in the segment of the handshake are not lost', {timeout}, async () => {
  const bytes = [Buffer.from(request()), frame(text, 'hello'), frame(close, code(1000))];
  const got = frames(await exchange(server.port, Buffer.concat(bytes)));
  assert.deepEqual(got.map((f) => [f.opcode, f.payload.toString('latin1')]), [[text, 'hello'], [close, '\x03\xe8']]);
});

test('an empty close is answered by an empty close', {timeout}, async () => {
  const got = frames(await exchange(server.port, Buffer.concat([Buffer.from(request()), frame(close)])));
  assert.deepEqual(got.map((f) => [f.opcode, f.payload.length]), [[close, 0]]);
});

test('data after a close frame is ignored', {timeout}, async () => {
  const bytes = [Buffer.from(request()), frame(close, code(1000)), frame(text, 'late')];
  const got = frames(await exchange(server.port, Buffer.concat(bytes)));
  assert.deepEqual(got.map((f) => f.opcode), [close]);
});

test('the accept key is the one of RFC 6455 section 1.3', {timeout}, async () => {
  const got = response(await exchange(server.port, Buffer.concat([Buffer.from(request()), frame(close)])));
  assert.equal(got.fields['sec-websocket-accept'], 's3pPLMBiTxaQ9kYGzzhZRbK+xOo=');
  assert.equal(got.fields.upgrade.toLowerCase(), 'websocket');
  assert.match(got.fields.connection, /^upgrade$/i);
});
