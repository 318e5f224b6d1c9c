// The configurations in deploy/, as they stand there, in real proxies: who gets through them, and for how long.
import assert from 'node:assert/strict';
import {randomBytes} from 'node:crypto';
import {once} from 'node:events';
import {readFileSync} from 'node:fs';
import {get} from 'node:https';
import {describe, test} from 'node:test';
import {ca} from './lib/certificate.mjs';
import {front, somePorts, upstream, ways} from './lib/front.mjs';
import {Peer} from './lib/peer.mjs';
import {within} from './lib/process.mjs';
import {key} from './lib/raw.mjs';

const timeout = 120_000;
const forged = {'X-Forwarded-For': '6.6.6.6', Forwarded: 'for=6.6.6.6'};
const ended = (peer) => once(peer.ws, 'close').then(([code]) => { throw new Error(`it was closed with ${code}`); });

// One server and the proxy of a way in front of it; the other server is away.
async function one(t, way, flags, edit) {
  const ports = await somePorts();
  await upstream(t, ports, '127.0.0.1', ...flags);
  return front(t, way, ports, edit);
}

// They wait most of the time.
describe('proxies', {concurrency: 4}, () => {
  for (const [name, way] of Object.entries(ways)) {
    test(`${name}: a browser's handshake passes, and the client's address is right`, {timeout}, async (t) => {
      const through = await one(t, way, ['-mode', 'address']);
      const headers = way.blind ? {} : forged; // a proxy without HTTP cannot remove them
      for (const localAddress of ['127.0.0.2', '127.0.0.3']) {
        const peer = await Peer.open(through.url, {...through.options, localAddress, headers});
        peer.ws.send('who am I?');
        assert.deepEqual(await peer.next(30_000), {type: 'text', data: localAddress});
        assert.deepEqual(await peer.close(1000), {type: 'close', code: 1000, reason: ''});
      }
      const elsewhere = new Peer(through.url, {...through.options, origin: 'https://elsewhere.example'});
      assert.match((await elsewhere.next(30_000)).message, /403/);
    });

    test(`${name}: large messages pass, each way`, {timeout}, async (t) => {
      const through = await one(t, way, []);
      const peer = await Peer.open(through.url, {...through.options, perMessageDeflate: false});
      // About the buffers of the proxies and of ours, then the largest that the server takes.
      for (const bytes of [4 << 10, 16 << 10, 64 << 10, 1 << 20, 16 << 20].flatMap((n) => [n - 14, n])) {
        const sent = randomBytes(bytes);
        peer.ws.send(sent);
        const {type, data} = await peer.next(30_000);
        assert.ok(type === 'binary' && sent.equals(data), `${bytes} bytes came back as ${type} of ${data?.length}`);
      }
      peer.ws.terminate();
    });
  }

  for (const name of ['nginx', 'haproxy', 'haproxy, TLS passes through, PROXY v2', 'caddy']) {
    const way = ways[name];
    const shorter = (to) => (way.proxy.timeouts ? [['60s', to]] : []);

    test(`${name}: an idle connection outlives the proxy's time limit`, {timeout}, async (t) => {
      const through = await one(t, way, ['-ping-interval', '1500ms'], shorter('3s'));
      const peer = await Peer.open(through.url, through.options);
      let pings = 0;
      peer.ws.on('ping', () => pings++);
      while (pings < 6) await Promise.race([once(peer.ws, 'ping'), ended(peer)]);
      peer.ws.send('still there');
      assert.deepEqual(await peer.next(30_000), {type: 'text', data: 'still there'});
      peer.ws.terminate();
    });

    if (way.proxy.timeouts) {
      test(`${name}: without pings it does not`, {timeout}, async (t) => {
        const through = await one(t, way, ['-ping-interval', '-1ns'], shorter('1s'));
        const peer = await Peer.open(through.url, through.options);
        assert.equal((await peer.next(30_000)).type, 'close');
      });
    }

    if (!way.blind) {
      test(`${name}: a Host that does not pass is a 403 that says so`, {timeout}, async (t) => {
        const through = await one(t, way, [], way.proxy.wrongHost);
        const answer = get(through.origin, {ca: readFileSync(ca), headers: {
          Origin: through.origin, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13',
        }});
        const [got] = await within(5000, 'the answer', once(answer, 'response'));
        const body = (await got.setEncoding('utf8').toArray()).join('');
        assert.equal(got.statusCode, 403, body);
        assert.ok(body.includes(`Origin is "${through.origin}", Host is "`), body);
      });
    }
  }
});
