// Opening handshakes that are refused: each gets its status and then the
// server ends the connection (RFC 6455 section 4.2, RFC 9112).
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {run, tool} from './lib/process.mjs';
import {exchange, key, request, response} from './lib/raw.mjs';
import {serve, shared} from './lib/server.mjs';

const timeout = 30_000;
// One server for all: what breaks off one connection must not disturb the next.
const server = shared('echo', '-mode', 'echo');
const lines = (...all) => [...all, '', ''].join('\r\n');

const refusals = [
  ['a bare LF', 400, request().replace('Host: 127.0.0.1\r\n', 'Host: 127.0.0.1\n')],
  ['obs-fold', 400, request({'X-Folded': 'a\r\n b'})],
  ['a space before the colon', 400, request({Host: undefined, 'Host ': '127.0.0.1'})],
  ['no Host', 400, request({Host: undefined})],
  ['two Hosts', 400, request({host: '127.0.0.1'})],
  ['a key of 15 bytes', 400, request({'Sec-WebSocket-Key': Buffer.alloc(15).toString('base64')})],
  ['a key that is not base64', 400, request({'Sec-WebSocket-Key': '?'.repeat(24)})],
  ['no key', 400, request({'Sec-WebSocket-Key': undefined})],
  ['a NUL byte', 400, request({'X-Nul': 'a\0b'})],
  ['no Connection: Upgrade', 400, request({Connection: 'keep-alive'})],
  ['an Origin that is not ours', 403, request({Origin: 'http://elsewhere.example'})],
  ['POST', 405, request({}, 'POST / HTTP/1.1'), {allow: 'GET'}],
  ['a body', 413, `${request({'Content-Length': '5'})}hello`],
  ['version 12', 426, request({'Sec-WebSocket-Version': '12'}), {upgrade: 'websocket', 'sec-websocket-version': '13'}],
  ['plain HTTP', 426, lines('GET / HTTP/1.1', 'Host: 127.0.0.1'), {upgrade: 'websocket', 'sec-websocket-version': '13'}],
  ['HTTP/2.0', 505, request({}, 'GET / HTTP/2.0')],
];

for (const [what, status, bytes, fields = {}] of refusals) {
  test(`${what}: ${status}`, {timeout}, async () => {
    check(response(await exchange(server.port, bytes)), status, fields);
  });
}

test('a TLS record: the end, without an answer', {timeout}, async () => {
  assert.equal((await exchange(server.port, Buffer.from('16030100c8010000c4', 'hex'))).length, 0);
});

// What every refusal has: its status, a length that holds, and the end.
function check(got, status, fields = {}) {
  assert.equal(got.status, status, got.line);
  assert.match(got.fields.connection, /\bclose\b/);
  assert.equal(Number(got.fields['content-length']), Buffer.byteLength(got.body, 'latin1'));
  for (const [name, value] of Object.entries(fields)) assert.equal(got.fields[name], value, name);
}

test('a header without end: 431', {timeout}, async () => {
  const got = await exchange(server.port, 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ', {flood: 'x'.repeat(4096)});
  check(response(got), 431);
});

test('fields without end: 431', {timeout}, async () => {
  const got = await exchange(server.port, 'GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n', {flood: 'X: y\r\n'.repeat(100)});
  check(response(got), 431);
});

test('a head that never ends: 408', {timeout}, async (t) => {
  const impatient = await serve(t, 'echo', '-handshake-timeout', '500ms');
  check(response(await exchange(impatient.port, 'GET / HTTP/1.1\r\nHost: ')), 408);
});

const curlCases = [
  ['plain HTTP', 426, [], {upgrade: 'websocket', 'sec-websocket-version': '13'}],
  ['version 12', 426, upgrade({'Sec-WebSocket-Version': '12'}), {upgrade: 'websocket', 'sec-websocket-version': '13'}],
  ['a wrong key', 400, upgrade({'Sec-WebSocket-Key': 'short'})],
  ['an Origin that is not ours', 403, upgrade({Origin: 'http://elsewhere.example'})],
  ['POST', 405, ['-X', 'POST', ...upgrade()], {allow: 'GET'}],
  ['a body', 413, ['-X', 'GET', '--data', 'hello', ...upgrade()]],
  ['an endless header', 431, upgrade({X: 'x'.repeat(100_000)})],
];

function upgrade(fields = {}) {
  const all = {Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13', ...fields};
  return Object.entries(all).flatMap(([k, v]) => ['-H', `${k}: ${v}`]);
}

for (const [what, status, args, fields = {}] of curlCases) {
  test(`curl, ${what}: ${status}`, {timeout}, async () => {
    const curl = tool('curl', 'curl');
    const {code, out, err} = await run(curl, ['-sS', '-i', '--max-time', '5', ...args, `http://127.0.0.1:${server.port}/`]);
    assert.equal(code, 0, err);
    check(response(Buffer.from(out, 'latin1')), status, fields);
  });
}
