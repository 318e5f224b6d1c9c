// Programs of ours, built when they are first needed, and servers among them, started
// on ports of their own.
import assert from 'node:assert/strict';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {after, before} from 'node:test';
import {fileURLToPath} from 'node:url';
import {end, launch, run, tool} from './process.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
// make e2e has one directory for all test files, so that each program is linked once.
const dir = process.env.E2E_PROGRAMS ?? mkdtempSync(join(tmpdir(), 'sockmill-e2e-'));
if (!process.env.E2E_PROGRAMS) process.on('exit', () => rmSync(dir, {recursive: true, force: true}));

const built = new Map();

// The program of that name.
export function build(name) {
  if (!built.has(name)) built.set(name, compile(name));
  return built.get(name);
}

// A name with a slash is that of a directory that belongs to another go.mod.
async function compile(name) {
  const program = join(dir, name.replaceAll('/', '-'));
  const [cwd, of, env] = name.includes('/')
    ? [join(root, name), '.', {...process.env, GOWORK: 'off'}]
    : [root, `./examples/${name}`, process.env];
  const {code, err} = await run(tool('go', 'golang'), ['build', '-o', program, of], {cwd, env, timeout: 180_000});
  assert.equal(code, 0, err);
  return program;
}

// Starts a server and waits until it says where it listens. The server
// ends with the test t, and the test fails if it does not end cleanly.
export async function serve(t, name, ...flags) {
  const server = await start(name, 0, flags);
  t.after(() => server.stopped || stop(server));
  return server;
}

// The same for all tests of a file; to be called at its top.
export function shared(name, ...flags) {
  const server = {};
  before(async () => { Object.assign(server, await start(name, 0, flags)); });
  after(() => stop(server));
  return server;
}

// Starts it on a given port (0: any), with TLS if flags have its certificate.
export async function start(name, port, flags = []) {
  const program = await build(name);
  const scheme = flags.includes('-cert') ? 'wss' : 'ws';
  const p = launch(program, ['-listen', `${scheme}://127.0.0.1:${port}`, ...flags]);
  const [, got] = await p.said(/127\.0\.0\.1:(\d+)/);
  return {name, flags, process: p, port: Number(got), url: `${scheme}://127.0.0.1:${got}/`};
}

// Asks the server to end: it has to drain, say nothing alarming and exit with 0.
export async function stop(server) {
  server.stopped = true;
  const {code, signal} = await end(server.process, 'SIGTERM');
  assert.doesNotMatch(server.process.err, /panic|DATA RACE/);
  assert.deepEqual({code, signal}, {code: 0, signal: null}, server.process.err);
}
