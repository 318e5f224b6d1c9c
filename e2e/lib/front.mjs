// The proxies of deploy/, with their files as they stand there, but for addresses, ports, certificates and shorter times. Both
// servers are on this machine, at 127.0.0.1 and 127.0.0.2.
import assert from 'node:assert/strict';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {constants, tmpdir} from 'node:os';
import {join} from 'node:path';
import {ca, file as certificate, secure} from './certificate.mjs';
import {freePort} from './port.mjs';
import {end, launch, run, tool} from './process.mjs';
import {build} from './server.mjs';

// replaced is text.replaceAll for something that must be there.
export function replaced(text, ...pairs) {
  for (const [from, to] of pairs) {
    assert.ok(text.includes(from), `the configuration no longer says ${from}`);
    text = text.replaceAll(from, to);
  }
  return text;
}

const patience = 30_000;

const deployed = (name) => readFileSync(new URL(`../../deploy/${name}`, import.meta.url), 'utf8');

const both = certificate('both.pem'); // as HAProxy has it
writeFileSync(both, readFileSync(certificate('cert.pem')) + readFileSync(certificate('key.pem')));

// ignores reports whether a process ignores a signal.
function ignores(p, signal) {
  const [, mask] = readFileSync(`/proc/${p.child.pid}/status`, 'utf8').match(/^SigIgn:\t(\w+)$/m);
  return (BigInt(`0x${mask}`) >> BigInt(signal - 1) & 1n) === 1n;
}

const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];

// timeouts: it cuts idle connections. checks: it asks for /readyz.
const nginx = {
  timeouts: true,
  wrongHost: [['proxy_set_header Host $http_host;', '']],
  edit: (dir, ports) => replaced(deployed('nginx.conf'),
    ['user www-data;', `user root; daemon off; pid ${dir}/pid; error_log stderr notice;`],
    ['worker_rlimit_nofile 200000;', ''], ['worker_connections 90000;', 'worker_connections 500;'],
    ['http {', `http { ${temporary.map((t) => `${t}_temp_path ${dir}/${t};`).join(' ')}`],
    ['/etc/ssl/example.com/fullchain.pem', certificate('cert.pem')], ['/etc/ssl/example.com/privkey.pem', certificate('key.pem')],
    ['inside.example.com', 'localhost'], ['example.com', '127.0.0.1'],
    ['listen 443 ssl', `listen 127.0.0.1:${ports.web} ssl`], ['listen 80;', `listen 127.0.0.1:${ports.plain};`]),
  command: (file, dir) => [tool('nginx', 'nginx'), ['-c', file, '-p', dir, '-e', 'stderr']],
  ready: /start worker process \d+\n/,
  reload: async (p) => {
    p.err = '';
    p.child.kill('SIGHUP');
    await p.said(/start worker process \d+\n[^]*gracefully shutting down/, patience);
  },
};

const haproxy = {
  timeouts: true, checks: true,
  wrongHost: [['option forwardfor', 'option forwardfor\n    http-request set-header Host one']],
  edit: (dir, ports) => replaced(deployed('haproxy.cfg'),
    ['maxconn 100000', 'maxconn 500'], ['/etc/ssl/example.com.pem', both], ['inside.example.com', 'localhost'],
    ['bind :443', `bind 127.0.0.1:${ports.web}`], ['bind :80', `bind 127.0.0.1:${ports.plain}`], ['bind :8443', `bind 127.0.0.1:${ports.through}`]),
  command: (file) => [tool('haproxy', 'haproxy'), ['-W', '-f', file]],
  ready: /Loading success/,
  reload: async (p) => {
    while (ignores(p, constants.signals.SIGUSR2)) await new Promise(setImmediate); // for a while after it has started
    p.err = '';
    p.child.kill('SIGUSR2');
    await p.said(/Loading success/, patience);
  },
};

const caddy = {
  timeouts: false, checks: true,
  wrongHost: [['header_up Host {hostport}', 'header_up Host {upstream_hostport}']],
  edit: (dir, ports) => replaced(deployed('Caddyfile'),
    ['{\n\tservers', `{\n\tadmin unix/${dir}/admin\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n\tservers`],
    ['\n\treverse_proxy', `\n\ttls ${certificate('cert.pem')} ${certificate('key.pem')}\n\treverse_proxy`],
    ['inside.example.com {', `localhost:${ports.web} {`], ['example.com {', `127.0.0.1:${ports.web} {`]),
  command: (file) => [tool('caddy', 'caddy'), ['run', '--adapter', 'caddyfile', '--config', file]],
  ready: /serving initial configuration/,
  reload: async (p, file, dir) => {
    const {code, err} = await run(tool('caddy', 'caddy'), ['reload', '--force', '--adapter', 'caddyfile', '--config', file, '--address', `unix/${dir}/admin`]);
    assert.equal(code, 0, err);
  },
};

// Each way that leads through a proxy: the host that the client asks for, and the port.
export const ways = {
  'nginx': {proxy: nginx, host: '127.0.0.1', port: 'web'},
  'nginx, TLS behind it too': {proxy: nginx, host: 'localhost', port: 'web'},
  'haproxy': {proxy: haproxy, host: '127.0.0.1', port: 'web'},
  'haproxy, TLS behind it too': {proxy: haproxy, host: 'localhost', port: 'web'},
  'haproxy, TLS passes through, PROXY v2': {proxy: haproxy, host: '127.0.0.1', port: 'through', blind: true},
  'haproxy, TLS passes through, PROXY v1': {proxy: haproxy, host: '127.0.0.1', port: 'through', blind: true, edit: [['send-proxy-v2', 'send-proxy']]},
  'caddy': {proxy: caddy, host: '127.0.0.1', port: 'web'},
  'caddy, TLS behind it too': {proxy: caddy, host: 'localhost', port: 'web'},
};

// The ports of the servers: the same at both addresses.
export const somePorts = async () => ({ws: await freePort(), wss: await freePort(), health: await freePort()});

// A server at an address, which ends with the test t.
export async function upstream(t, ports, address, ...flags) {
  const p = launch(await build('echo'), ['-listen', `ws://${address}:${ports.ws}`, '-listen', `wss://${address}:${ports.wss}`, ...secure,
    '-trusted-proxies', '127.0.0.1', '-admin', `${address}:${ports.health}`, ...flags]);
  await p.said(/up to \d+ connections/, patience);
  let ended = false;
  const stop = async () => {
    ended = true;
    const {code, signal} = await end(p, 'SIGTERM', patience);
    assert.doesNotMatch(p.err, /panic|DATA RACE/);
    assert.deepEqual({code, signal}, {code: 0, signal: null}, p.err);
  };
  const kill = () => {
    ended = true;
    return end(p);
  };
  t.after(() => ended || stop());
  return {process: p, stop, kill};
}

// Starts the proxy of a way in front of the servers, until the test t ends. edit are more pairs of what is replaced.
export async function front(t, way, servers, edit = []) {
  const {proxy} = way;
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-proxy-'));
  t.after(() => rmSync(dir, {recursive: true, force: true}));
  const ports = {web: await freePort(), plain: await freePort(), through: await freePort()};
  const text = replaced(replaced(proxy.edit(dir, ports), ...(way.edit ?? []), ...edit), ['/etc/ssl/inside/ca.pem', ca],
    ['sockmill.internal', 'localhost'], ['10.0.0.1', '127.0.0.1'], ['10.0.0.2', '127.0.0.2'], [':8091', `:${servers.ws}`], [':8443', `:${servers.wss}`]).replaceAll('8099', String(servers.health));
  const file = join(dir, 'conf');
  writeFileSync(file, text);
  const at = `${way.host}:${ports[way.port]}`;
  const through = {dir, ports, url: `wss://${at}/`, origin: `https://${at}`, options: {origin: `https://${at}`, ca: readFileSync(ca), family: 4, handshakeTimeout: patience}};
  through.start = async () => {
    const [command, args] = proxy.command(file, dir);
    through.process = launch(command, args, {env: {...process.env, HOME: dir, XDG_CONFIG_HOME: dir, XDG_DATA_HOME: dir}});
    await through.process.said(proxy.ready, patience);
  };
  through.reload = () => proxy.reload(through.process, file, dir);
  through.stop = () => end(through.process, 'SIGTERM', patience);
  await through.start();
  t.after(through.stop);
  return through;
}
