// examples/echo is replaced by new versions of itself, under load, and nobody notices.
import assert from 'node:assert/strict';
import {spawnSync} from 'node:child_process';
import {existsSync, readFileSync, writeFileSync} from 'node:fs';
import {get} from 'node:http';
import {test} from 'node:test';
import {ca, secure} from './lib/certificate.mjs';
import {Load} from './lib/load.mjs';
import {Peer} from './lib/peer.mjs';
import {freePort} from './lib/port.mjs';
import {tool} from './lib/process.mjs';
import {Versions} from './lib/versions.mjs';

const timeout = 240_000;

// What an HTTP server answers.
function fetched(url) {
  return new Promise((resolve, reject) => {
    get(url, {agent: false}, (res) => {
      let body = '';
      res.setEncoding('utf8').on('data', (s) => { body += s; }).on('end', () => resolve({status: res.statusCode, body}));
    }).on('error', reject);
  });
}

// The ports that the program says it listens on, in the order of its flags.
async function ports(versions, n) {
  await versions.process.said(/up to \d+ connections/);
  const found = [...versions.process.out.matchAll(/ on (?:\w+:\/\/)?127\.0\.0\.1:(\d+)/g)].map((m) => Number(m[1]));
  assert.ok(found.length >= n, versions.process.out);
  return found;
}

test('20 handovers under load: no connection fails, no message is lost', {timeout}, async (t) => {
  const v = await Versions.start(t, (dir) => ['-drain', '200ms', '-listen', 'ws://127.0.0.1:0', '-listen', 'wss://127.0.0.1:0', ...secure,
    '-listen', 'udp://127.0.0.1:0', '-admin', '127.0.0.1:0', '-listen', `ws+unix://${dir}/socket`]);
  const [ws, wss, udp, admin] = await ports(v, 4);
  const load = new Load();
  load.run(30, `ws://127.0.0.1:${ws}/`);
  load.run(10, `wss://127.0.0.1:${wss}/`, {ca: readFileSync(ca)});
  load.run(10, `ws+unix://${v.dir}/socket:/`);
  load.packets(4, udp);
  const seen = new Set();
  for (let i = 0; i < 20; i++) {
    seen.add(v.pid());
    await load.more(100);
    await v.replace();
    assert.deepEqual(load.failures, [], `handover ${i}: ${v.process.err.slice(-2000)}`);
    assert.equal((await fetched(`http://127.0.0.1:${admin}/readyz`)).status, 200);
  }
  await load.more(100);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.equal(seen.size, 20);
  assert.ok(load.drained >= 20, `only ${load.drained} connections were closed by an old version`);
  t.diagnostic(`${load.connected} connections, ${load.answered} messages, ${load.drained} connections moved`);
});

test('a new version that is bad changes nothing, and the log says so', {timeout}, async (t) => {
  const v = await Versions.start(t, (dir) => ['-listen', 'ws://127.0.0.1:0', '-ready-timeout', '1s', '-listen', `ws+unix://${dir}/socket`]);
  const [ws] = await ports(v, 1);
  const old = v.pid();
  const load = new Load();
  load.run(10, `ws://127.0.0.1:${ws}/`);
  load.run(5, `ws+unix://${v.dir}/socket:/`);
  await load.more(50);
  for (const [script, says] of [['exit 3', /exited: exit status 3/], ['exec sleep 600', /timed out/], ['echo broken', /exited/]]) {
    v.install(script);
    v.hangUp();
    const [line] = await v.logged(/ERROR.*the new version did not take over; this one goes on.*/);
    assert.match(line, says);
    await load.more(50);
    assert.equal(v.pid(), old);
  }
  assert.equal(load.drained, 0);
  v.install();
  await v.replace();
  await load.more(50);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.notEqual(v.pid(), old);
});

test('SIGHUP twice: one new version', {timeout}, async (t) => {
  const v = await Versions.start(t, () => ['-listen', 'ws://127.0.0.1:0']);
  const [ws] = await ports(v, 1);
  const old = v.pid();
  const load = new Load();
  load.run(10, `ws://127.0.0.1:${ws}/`);
  await load.more(50);
  const gate = `${v.dir}/gate`;
  assert.equal(spawnSync('mkfifo', [gate]).status, 0);
  v.install(`read line <"${gate}"; exec "${v.good}" "$@"`);
  v.hangUp();
  await v.logged(/starting a new version/);
  v.hangUp();
  await v.logged(/a new version is being started already/);
  await load.more(50);
  assert.equal(v.pid(), old);
  writeFileSync(gate, 'go\n');
  await v.logged(/a new version has taken over/);
  await load.more(50);
  await load.stop();
  assert.deepEqual(load.failures, []);
  assert.notEqual(v.pid(), old);
});

test('systemd passes the sockets, by name and by address, and new versions have them', {timeout}, async (t) => {
  const activate = tool('systemd-socket-activate', 'systemd');
  const port = await freePort();
  const named = await freePort();
  let socket;
  const v = await Versions.start(t, (dir) => {
    socket = `${dir}/socket`;
    return ['-listen', 'web=ws://127.0.0.1:1', '-listen', `ws://127.0.0.1:${port}`, '-listen', `ws+unix://${socket}`];
  }, (program) => [activate, '-l', `127.0.0.1:${named}`, '-l', `127.0.0.1:${port}`, '-l', program.replace(/echo$/, 'socket'), '--fdname=web:x:y', program]);
  await v.process.said(/Listening on .*socket/);
  const urls = [`ws://127.0.0.1:${named}/`, `ws://127.0.0.1:${port}/`, `ws+unix://${socket}:/`];
  for (let round = 0; round < 3; round++) {
    for (const url of urls) {
      const peer = await Peer.open(url);
      peer.ws.send(url);
      assert.deepEqual(await peer.next(), {type: 'text', data: url});
      await peer.close(1000);
    }
    await v.replace();
  }
  process.kill(v.pid(), 'SIGTERM');
  await v.process.exited;
  assert.ok(existsSync(socket), "systemd's socket file was removed");
});
