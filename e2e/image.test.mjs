// deploy/Dockerfile, as far as there is no container engine: its command builds the programs, and they run as they would in
// the image: as its user, with nothing beside them, and a root that cannot be written.
import assert from 'node:assert/strict';
import {chmodSync, mkdtempSync, readFileSync, rmSync, statSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {Peer} from './lib/peer.mjs';
import {end, launch, run, tool} from './lib/process.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const dockerfile = readFileSync(join(root, 'deploy/Dockerfile'), 'utf8');
const imageBytesMax = 20e6;
const baseBytes = 3e6; // distroless/static has about 2 MB

// What the Dockerfile says after a word.
function says(word) {
  const found = dockerfile.match(new RegExp(`^${word} (.*)$`, 'm'));
  assert.ok(found, `deploy/Dockerfile has no ${word}`);
  return found[1];
}

// Builds a program with the command of the Dockerfile, into a directory of its own.
async function image(t, program) {
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-image-'));
  t.after(() => rmSync(dir, {recursive: true, force: true}));
  chmodSync(dir, 0o755);
  const file = join(dir, 'program');
  const command = says('RUN');
  assert.ok(command.includes(' -o /program '), command);
  tool('go', 'golang');
  const {code, err} = await run('sh', ['-euc', command.replace('/program', file)], {cwd: root, env: {...process.env, PROGRAM: program}, timeout: 240_000});
  assert.equal(code, 0, err);
  return {dir, file};
}

// Runs what the image has in an empty root, until the test t ends. Who is not root does so in a user namespace, where there is one user.
function contain(t, dir, ...args) {
  const [user, group] = says('USER').split(':');
  const [program] = JSON.parse(says('ENTRYPOINT'));
  const script = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"';
  const mine = process.getuid() === 0;
  const p = launch(tool('unshare', 'util-linux'), [...(mine ? [] : ['--user', '--map-root-user']), '--mount', 'sh', '-c', script, dir,
    tool('chroot', 'coreutils'), ...(mine ? [`--userspec=${user}:${group}`] : []), dir, program, ...args], {env: {}});
  t.after(() => end(p));
  return Object.assign(p, {user: mine ? Number(user) : process.getuid(), group: mine ? Number(group) : process.getgid()});
}

// The flags that deploy/kubernetes-echo.yaml gives it, with addresses and times for here.
function deployed() {
  const args = readFileSync(join(root, 'deploy/kubernetes-echo.yaml'), 'utf8').match(/^ +args:\n((?: +- .*\n)+)/m)[1].trim().split('\n')
    .map((line) => line.match(/- (-\S+)/)[1]);
  const edit = {'-listen=ws://:8091': '-listen=ws://127.0.0.1:0', '-admin=:8099': '-admin=127.0.0.1:0', '-unready-for=5s': '-unready-for=1ms', '-drain=20s': '-drain=1ms'};
  for (const arg of Object.keys(edit)) assert.ok(args.includes(arg), `deploy/kubernetes-echo.yaml no longer has ${arg}`);
  return args.map((arg) => edit[arg] ?? arg);
}

test('the image of echo runs as nobody, in an empty root that it cannot write', {timeout: 300_000}, async (t) => {
  const {dir, file} = await image(t, says('ARG').split('=')[1]);
  const bytes = statSync(file).size;
  assert.ok(bytes + baseBytes < imageBytesMax, `the program has ${bytes} bytes`);
  t.diagnostic(`the program has ${bytes} bytes`);

  const p = contain(t, dir, ...deployed());
  const [, port] = await p.said(/echo on 127\.0\.0\.1:(\d+)/);
  const [, admin] = await p.said(/admin on (\S+)/);
  for (const path of ['healthz', 'readyz']) assert.equal((await fetch(admin + path)).status, 200, path);
  const status = readFileSync(`/proc/${p.child.pid}/status`, 'utf8');
  assert.match(status, new RegExp(`^Uid:\t${p.user}\t${p.user}\t${p.user}\t${p.user}$`, 'm'));
  assert.match(status, new RegExp(`^Gid:\t${p.group}\t`, 'm'));
  assert.match(status, /^CapEff:\t0+$/m);
  assert.match(readFileSync(`/proc/${p.child.pid}/mountinfo`, 'utf8'), /^\d+ \d+ \S+ \S+ \/ ro,/m);

  const peer = await Peer.open(`ws://127.0.0.1:${port}/`);
  peer.ws.send('hello');
  assert.deepEqual(await peer.next(), {type: 'text', data: 'hello'});
  p.child.kill('SIGTERM');
  assert.equal((await peer.next()).code, 1001);
  assert.deepEqual(await p.exited, {code: 0, signal: null}, p.err);
});
