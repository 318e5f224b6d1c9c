// The configurations of docs/PROXIES.md, as they stand there, in real proxies.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {get} from 'node:http';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {Peer} from './lib/peer.mjs';
import {freePort} from './lib/port.mjs';
import {end, launch, tool, within} from './lib/process.mjs';
import {key} from './lib/raw.mjs';
import {serve} from './lib/server.mjs';

const timeout = 60_000;
const page = readFileSync(fileURLToPath(new URL('../docs/PROXIES.md', import.meta.url)), 'utf8');

// The nth block of a language on the page.
function snippet(language, n = 0) {
  const found = [...page.matchAll(new RegExp(`^\`\`\`${language}\n(.*?)^\`\`\``, 'gms'))][n];
  assert.ok(found, `docs/PROXIES.md has no block ${n} of ${language}`);
  return found[1];
}

// replaced is text.replace for something that must be there.
function replaced(text, from, to) {
  assert.ok(text.includes(from), `docs/PROXIES.md no longer says ${from}`);
  return text.replaceAll(from, to);
}

const nginx = {
  text: snippet('nginx'), listen: ['listen 80;', (port) => `listen 127.0.0.1:${port};`],
  wrong: ['proxy_set_header Host $http_host;', ''], timeouts: true,
  start: (file, text, dir) => {
    writeFileSync(file, `daemon off; master_process off; pid ${dir}/pid; error_log stderr notice; events {}
      http { access_log off; ${['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((t) => `${t}_temp_path ${dir}/${t};`).join(' ')}\n${text}}`);
    return [tool('nginx', 'nginx'), ['-c', file, '-p', dir, '-e', 'stderr'], /using the "epoll"/];
  },
};

const haproxy = {
  text: snippet('haproxy'), listen: ['bind :80', (port) => `bind 127.0.0.1:${port}`],
  wrong: ['option forwardfor', 'option forwardfor\n    http-request set-header Host one'], timeouts: true,
  start: (file, text) => {
    writeFileSync(file, text);
    return [tool('haproxy', 'haproxy'), ['-W', '-f', file], /Loading success|New worker/];
  },
};

const caddy = {
  text: snippet('caddyfile'), listen: ['example.com {', (port) => `http://127.0.0.1:${port} {`],
  wrong: ['header_up -Forwarded', 'header_up -Forwarded\n\t\theader_up Host {upstream_hostport}'],
  start: (file, text) => {
    writeFileSync(file, `{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}\n${text}`);
    return [tool('caddy', 'caddy'), ['run', '--adapter', 'caddyfile', '--config', file], /serving initial configuration/];
  },
};

const proxies = {nginx, haproxy, 'haproxy, PROXY protocol': {...haproxy, text: snippet('haproxy', 1), wrong: null}, caddy};

// Starts a proxy in front of a server, until the test t ends.
async function front(t, proxy, server, edit = (text) => text) {
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-proxy-'));
  t.after(() => rmSync(dir, {recursive: true, force: true}));
  const port = await freePort();
  const [from, to] = proxy.listen;
  const text = edit(replaced(replaced(proxy.text, from, to(port)), '127.0.0.1:8090', `127.0.0.1:${server.port}`));
  const [command, args, ready] = proxy.start(join(dir, 'conf'), text, dir);
  const p = launch(command, args, {env: {...process.env, HOME: dir, XDG_CONFIG_HOME: dir, XDG_DATA_HOME: dir}});
  t.after(() => end(p, 'SIGTERM'));
  await p.said(ready);
  return {port, url: `ws://127.0.0.1:${port}/`, origin: `http://127.0.0.1:${port}`};
}

const forged = {'X-Forwarded-For': '6.6.6.6', Forwarded: 'for=6.6.6.6'};

for (const [name, proxy] of Object.entries(proxies)) {
  test(`${name}: a browser's handshake passes, and the client's address is right`, {timeout}, async (t) => {
    const server = await serve(t, 'echo', '-mode', 'address', '-trusted-proxies', '127.0.0.1');
    const through = await front(t, proxy, server);
    const headers = proxy.text.includes('send-proxy') ? {} : forged; // a proxy without HTTP cannot remove them
    for (const localAddress of ['127.0.0.2', '127.0.0.3']) {
      const peer = await Peer.open(through.url, {origin: through.origin, localAddress, headers});
      peer.ws.send('who am I?');
      assert.deepEqual(await peer.next(), {type: 'text', data: localAddress});
      assert.deepEqual(await peer.close(1000), {type: 'close', code: 1000, reason: ''});
    }
    const elsewhere = new Peer(through.url, {origin: 'http://elsewhere.example'});
    assert.match((await elsewhere.next()).message, /403/);
  });

  test(`${name}: an idle connection outlives the proxy's time limit`, {timeout}, async (t) => {
    const server = await serve(t, 'echo', '-ping-interval', '1500ms', '-trusted-proxies', '127.0.0.1');
    const through = await front(t, proxy, server, (text) => (proxy.timeouts ? replaced(text, '60s', '3s') : text));
    const peer = await Peer.open(through.url, {origin: through.origin});
    let pings = 0;
    peer.ws.on('ping', () => pings++);
    while (pings < 6) await Promise.race([once(peer.ws, 'ping'), ended(peer)]);
    peer.ws.send('still there');
    assert.deepEqual(await peer.next(), {type: 'text', data: 'still there'});
    peer.ws.terminate();
  });

  if (proxy.timeouts) {
    test(`${name}: without pings it does not`, {timeout}, async (t) => {
      const server = await serve(t, 'echo', '-ping-interval', '-1ns', '-trusted-proxies', '127.0.0.1');
      const through = await front(t, proxy, server, (text) => replaced(text, '60s', '1s'));
      const peer = await Peer.open(through.url, {origin: through.origin});
      assert.equal((await peer.next()).type, 'close');
    });
  }

  if (proxy.wrong) {
    test(`${name}: a Host that does not pass is a 403 that says so`, {timeout}, async (t) => {
      const server = await serve(t, 'echo', '-trusted-proxies', '127.0.0.1');
      const through = await front(t, proxy, server, (text) => replaced(text, ...proxy.wrong));
      const answer = get({host: '127.0.0.1', port: through.port, headers: {
        Origin: through.origin, Connection: 'Upgrade', Upgrade: 'websocket', 'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13',
      }});
      const [got] = await within(5000, 'the answer', once(answer, 'response'));
      const body = (await got.setEncoding('utf8').toArray()).join('');
      assert.equal(got.statusCode, 403, body);
      assert.ok(body.includes(`Origin is "${through.origin}", Host is "`), body);
    });
  }
}

const ended = (peer) => once(peer.ws, 'close').then(([code]) => { throw new Error(`it was closed with ${code}`); });
