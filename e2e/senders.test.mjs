// Clients that are in the midst of sending more than the server takes: each is
// told so by the close code, not by a connection that breaks.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {browse} from './lib/browser.mjs';
import {Peer} from './lib/peer.mjs';
import {run, tool} from './lib/process.mjs';
import {shared} from './lib/server.mjs';

const timeout = 120_000;
const server = shared('echo', '-mode', 'echo');
const file = (name) => fileURLToPath(new URL(`clients/${name}`, import.meta.url));
const tooMuch = 64 << 20; // MessageBytesMax is 16 MiB

test('npm ws, 50 times', {timeout}, async () => {
  const payload = Buffer.alloc((16 << 20) + 1);
  for (let i = 0; i < 50; i++) {
    const peer = await Peer.open(server.url, {perMessageDeflate: false});
    peer.ws.send(payload);
    assert.deepEqual(await peer.next(), {type: 'close', code: 1009, reason: 'the message exceeds the limit'}, `time ${i}`);
  }
});

test('java.net.http.WebSocket', {timeout}, async () => {
  tool('javac', 'default-jdk-headless');
  const {out, err} = await run(tool('java', 'default-jdk-headless'), [file('Sender.java'), server.url], {timeout: 60_000});
  assert.equal(out.trim(), 'close 1009', err);
});

test('a blocking socket that reads only afterwards', {timeout}, async () => {
  const {out, err} = await run(tool('/usr/bin/python3', 'python3'), [file('sender.py'), '127.0.0.1', String(server.port)]);
  assert.equal(out.trim(), 'close 1009', err);
});

test('Chromium', {timeout}, async (t) => {
  const page = await (await browse(t)).newPage();
  await page.goto(`http://127.0.0.1:${server.port}/`); // for the origin
  const end = await page.evaluate(([url, size]) => new Promise((resolve) => {
    const ws = new WebSocket(url);
    ws.onopen = () => ws.send(new Uint8Array(size));
    ws.onclose = ({code, wasClean}) => resolve({code, wasClean});
  }), [server.url, tooMuch]);
  assert.deepEqual(end, {code: 1009, wasClean: true});
});
