// The units of systemd in deploy/, as far as no systemd runs here: systemd itself reads and judges them, and the program runs with the
// flags and the socket that they give it.
import assert from 'node:assert/strict';
import {mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {Peer} from './lib/peer.mjs';
import {freePort} from './lib/port.mjs';
import {end, launch, run, tool} from './lib/process.mjs';
import {build} from './lib/server.mjs';

const deploy = fileURLToPath(new URL('../deploy', import.meta.url));
const units = readdirSync(deploy).filter((name) => /\.(service|socket)$/.test(name));
const exposureMax = 1.5; // of 10, as systemd-analyze security counts

// The value that a unit has for a name.
function field(unit, name) {
  const found = readFileSync(join(deploy, unit), 'utf8').match(new RegExp(`^${name}=(.*)$`, 'm'));
  assert.ok(found, `deploy/${unit} has no ${name}`);
  return found[1];
}

const seconds = (time) => {
  const [, n, unit] = time.match(/^(\d+)(m?s)?$/);
  return Number(n) * (unit === 'ms' ? 0.001 : 1);
};

test('systemd finds nothing wrong with the units', {timeout: 60_000}, async (t) => {
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-units-'));
  t.after(() => rmSync(dir, {recursive: true, force: true}));
  for (const name of units) { // the programs have to be there
    writeFileSync(join(dir, name), readFileSync(join(deploy, name), 'utf8').replace(/^ExecStart=\S+/m, `ExecStart=${process.execPath}`));
  }
  const {code, err, out} = await run(tool('systemd-analyze', 'systemd'), ['verify', '--man=no', ...units.map((name) => join(dir, name))]);
  assert.equal(code, 0, err);
  assert.doesNotMatch(out + err, new RegExp(units.join('|').replaceAll('.', '\\.')));
});

for (const name of units.filter((unit) => unit.endsWith('.service'))) {
  test(`systemd counts ${name} as exposed by ${exposureMax} at most`, {timeout: 60_000}, async () => {
    const {code, out, err} = await run(tool('systemd-analyze', 'systemd'),
      ['security', '--offline=true', `--threshold=${exposureMax * 10}`, '--no-pager', join(deploy, name)]);
    assert.equal(code, 0, out + err);
    assert.match(out, /Overall exposure level/);
  });
}

test('echo runs as its unit says, on the socket of its unit, and has the time to stop', {timeout: 60_000}, async (t) => {
  const port = await freePort();
  const [, ...flags] = field('echo.service', 'ExecStart').split(' ');
  const value = (flag) => flags[flags.indexOf(flag) + 1];
  const need = seconds(value('-unready-for')) + seconds(value('-drain')) + 10; // -drain-timeout
  assert.ok(seconds(field('echo.service', 'TimeoutStopSec')) > need, `it takes up to ${need} s to stop`);
  assert.equal(value('-listen').replace(/^.*:/, ''), field('echo.socket', 'ListenStream'));

  const here = flags.join(' ').replace(`:${field('echo.socket', 'ListenStream')}`, `127.0.0.1:${port}`).replace(value('-admin'), '127.0.0.1:0')
    .replace(`-unready-for ${value('-unready-for')}`, '-unready-for 100ms').replace(`-drain ${value('-drain')}`, '-drain 100ms');
  const p = launch(tool('systemd-socket-activate', 'systemd'), ['-l', `127.0.0.1:${port}`, `--fdname=${field('echo.socket', 'FileDescriptorName')}`,
    await build('echo'), ...here.split(' ')]);
  t.after(() => end(p));
  await p.said(/Listening on/);
  const peer = await Peer.open(`ws://127.0.0.1:${port}/`);
  peer.ws.send('hello');
  assert.deepEqual(await peer.next(), {type: 'text', data: 'hello'});
  assert.equal(field('echo.service', 'ExecReload'), '/bin/kill -HUP $MAINPID');
  p.child.kill('SIGTERM');
  assert.equal((await peer.next()).type, 'close');
  assert.deepEqual(await p.exited, {code: 0, signal: null}, p.err);
});
