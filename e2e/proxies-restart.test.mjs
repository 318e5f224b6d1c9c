// The configurations in deploy/ in real proxies, when a proxy is reloaded or restarted.
import assert from 'node:assert/strict';
import {describe, test} from 'node:test';
import {front, somePorts, upstream, ways} from './lib/front.mjs';
import {Peer} from './lib/peer.mjs';

const timeout = 60_000;

async function echoes(peer, text) {
  peer.ws.send(text);
  assert.deepEqual(await peer.next(), {type: 'text', data: text});
}

describe('proxies that end', {concurrency: 6}, () => {
  for (const name of ['nginx', 'haproxy', 'haproxy, TLS passes through, PROXY v2', 'caddy']) {
    const way = ways[name];
    const behind = async (t) => {
      const ports = await somePorts();
      await upstream(t, ports, '127.0.0.1');
      return front(t, way, ports);
    };

    test(`${name}: at a reload connections ${way.proxy.timeouts ? 'go on' : 'are closed with 1001'}, and new ones come in`, {timeout}, async (t) => {
      const through = await behind(t);
      const old = await Peer.open(through.url, through.options);
      await echoes(old, 'before');
      await through.reload();
      if (way.proxy.timeouts) await echoes(old, 'after');
      else assert.deepEqual(await old.next(), {type: 'close', code: 1001, reason: ''});
      await echoes(await Peer.open(through.url, through.options), 'new');
    });

    test(`${name}: at a restart connections end, and new ones come in`, {timeout}, async (t) => {
      const through = await behind(t);
      const old = await Peer.open(through.url, through.options);
      await echoes(old, 'before');
      await through.stop('SIGTERM');
      assert.deepEqual(await old.next(), {type: 'close', code: way.proxy.timeouts ? 1006 : 1001, reason: ''});
      await through.start();
      await echoes(await Peer.open(through.url, through.options), 'new');
    });
  }
});
