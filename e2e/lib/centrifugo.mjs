// Centrifugo with the permissions that our servers have: E2E_CENTRIFUGO names the
// program, and the tests of the SDKs then run against it. What they demand is what
// it does.
import {mkdtempSync, rmSync, writeFileSync} from 'node:fs';
import {createServer} from 'node:http';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {once} from 'node:events';
import {end, launch} from './process.mjs';
import {freePort} from './port.mjs';

const members = {
  allow_subscribe_for_client: true, allow_publish_for_subscriber: true, allow_user_limited_channels: true,
  presence: true, allow_presence_for_subscriber: true, join_leave: true,
  history_size: 1000, history_ttl: '300s', allow_history_for_subscriber: true, force_recovery: true,
};

const namespaces = {
  bare: {allow_subscribe_for_client: true},
  open: {allow_subscribe_for_client: true, allow_publish_for_client: true},
  cache: {...members, history_size: 10, force_recovery_mode: 'cache'},
  short: {...members, history_size: 5},
};

const config = (port, rpc, {secret, apiKey}) => ({
  http_server: {address: '127.0.0.1', port},
  log: {level: 'error'},
  health: {enabled: true},
  http_api: {key: apiKey},
  client: {
    token: {hmac_secret_key: secret}, expired_close_delay: '2s', expired_sub_close_delay: '2s',
    ping_interval: '2s', pong_timeout: '1s', presence_update_interval: '1s',
  },
  channel: {
    without_namespace: members,
    namespaces: Object.entries(namespaces).map(([name, options]) => ({name, ...options})),
  },
  rpc: {proxy: {endpoint: rpc}, without_namespace: {proxy_enabled: true}},
});

// The RPC methods of e2e/hub/server, for a server that asks over HTTP.
const methods = {
  echo: ({data, b64data}) => ({result: b64data ? {b64data} : {data}}),
  whoami: ({user}) => ({result: {data: {user}}}),
  fail: () => ({error: {code: 4000, message: 'no luck', temporary: true}}),
  leave: () => ({disconnect: {code: 4500, reason: 'you asked for it'}}),
};

async function answerRPC() {
  const server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request.setEncoding('utf8')) body += piece;
    const call = JSON.parse(body);
    const method = methods[call.method] ?? (() => ({error: {code: 104, message: 'method not found'}}));
    response.setHeader('Content-Type', 'application/json').end(JSON.stringify(method(call)));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

// Starts it on a port, 0: any.
export async function centrifugo(keys, at) {
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-centrifugo-'));
  const rpc = await answerRPC();
  const port = at || await freePort();
  const file = join(dir, 'config.json');
  writeFileSync(file, JSON.stringify(config(port, `http://127.0.0.1:${rpc.address().port}`, keys)));
  const p = launch(process.env.E2E_CENTRIFUGO, ['-c', file]);
  const stop = async () => {
    await end(p, 'SIGTERM');
    rpc.close();
    rmSync(dir, {recursive: true, force: true});
  };
  for (;;) {
    const healthy = await fetch(`http://127.0.0.1:${port}/health`).catch(() => null);
    if (healthy?.ok) return {port, stop};
    if (p.child.exitCode !== null) throw new Error(p.out + p.err);
  }
}
