// examples/echo against the WebSocket clients of other languages. Each client
// checks what it gets and prints one line per step that went well.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {secure, trusting} from './lib/certificate.mjs';
import {Peer} from './lib/peer.mjs';
import {end, launch, run, tool} from './lib/process.mjs';
import {Proxy} from './lib/proxy.mjs';
import {serve} from './lib/server.mjs';

const timeout = 90_000;
const file = (name) => fileURLToPath(new URL(`clients/${name}`, import.meta.url));

async function steps(t, flags, command, args) {
  const server = await serve(t, 'echo', '-mode', 'echo', ...flags);
  const {code, out, err} = await run(command, [...args, server.url], {timeout: 60_000, env: {...process.env, ...trusting}});
  assert.equal(code, 0, out + err);
  return out.trim().split('\n');
}

for (const [scheme, flags] of [['ws', []], ['wss', secure]]) {
  test(`the WebSocket of Node itself, ${scheme}`, {timeout}, async (t) => {
    const got = await steps(t, flags, process.execPath, ['--experimental-websocket', '--no-warnings', file('native.mjs')]);
    assert.deepEqual(got, ['text', 'binary', 'large', 'close']);
  });

  test(`java.net.http.WebSocket, ${scheme}`, {timeout}, async (t) => {
    tool('javac', 'default-jdk-headless');
    const got = await steps(t, flags, tool('java', 'default-jdk-headless'), [file('E2E.java')]);
    assert.deepEqual(got, ['text', 'binary', 'fragments', 'ping', 'close']);
  });

  test(`websockets for Python, ${scheme}`, {timeout}, async (t) => {
    const python = tool('/usr/bin/python3', 'python3');
    const found = await run(python, ['-c', 'import websockets']);
    assert.equal(found.code, 0, `websockets is missing: apt-get install python3-websockets (or make e2e-deps)\n${found.err}`);
    const got = await steps(t, flags, python, [file('client.py')]);
    assert.deepEqual(got, ['text', 'binary', 'fragments', 'ping', 'close']);
  });
}

// The test client of libwebsockets opens two connections: one sends drawing
// commands, the other prints what it receives. Against a broadcasting server
// each command therefore comes back through a second libwebsockets connection.
// Without compression: the offers are taken out on the way.
test('libwebsockets-test-client', {timeout}, async (t) => {
  const command = tool('libwebsockets-test-client', 'libwebsockets-test-server');
  const server = await serve(t, 'echo', '-mode', 'broadcast');
  const proxy = await Proxy.before(t, server.port, (request) => (
    request.replace(/^sec-websocket-extensions:.*\r\n/im, '')));
  const witness = await Peer.open(server.url);
  const infoLog = '15';
  const client = launch(command, ['127.0.0.1', `--port=${proxy.port}`, '-d', infoLog]);
  t.after(() => end(client));
  const [, printed] = await client.said(/rx \d+ '(c #[0-9A-F]{6} \d+ \d+ \d+;)'/);
  await end(client);
  const seen = new Set();
  while (!seen.has(printed)) {
    const got = await witness.next();
    assert.equal(got.type, 'text');
    seen.add(got.data);
  }
  witness.ws.terminate();
});
