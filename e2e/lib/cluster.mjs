// Nodes of examples/cluster, as the README starts them, on ports of their own.
import assert from 'node:assert/strict';
import {randomUUID} from 'node:crypto';
import {mkdtempSync, readFileSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import WebSocket from 'ws';
import {call, key} from './hubpage.mjs';
import {freePort} from './port.mjs';
import {end, launch, run, within} from './process.mjs';
import {build} from './server.mjs';

const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

// The commands of the README that begin so, each in one line.
const commands = (begin) => readme.replaceAll(/\\\n */g, '').split('\n').filter((line) => line.startsWith(begin) && line.includes('-listen') === begin.startsWith('go'));

class Node {
  // args are the flags; others replace what the README has.
  constructor(program, args, dir) {
    Object.assign(this, {program, args, dir, name: args[args.indexOf('-node') + 1]});
    this.port = Number(args[args.indexOf('-listen') + 1].match(/:(\d+)$/)[1]);
    this.url = `ws://127.0.0.1:${this.port}/connection/websocket`;
  }

  start() {
    this.process = launch(this.program, this.args);
  }

  // Waits until it gets clients.
  ready() {
    return within(60_000, () => `${this.name} to be ready; it said:\n${this.process.out}${this.process.err}`.slice(-3000), this.becomes(200));
  }

  // Waits until /readyz answers with this status, and returns the text.
  async becomes(status) {
    for (;;) {
      const answer = await fetch(`http://127.0.0.1:${this.port}/readyz`).catch(() => null);
      const text = await answer?.text();
      if (answer?.status === status) return text;
      if (this.process.child.exitCode !== null) throw new Error(`${this.name} has ended: ${this.process.err.slice(-2000)}`);
    }
  }

  kill() {
    return end(this.process, 'SIGKILL');
  }

  // Asks it to end, and waits for a good end.
  async stop() {
    const {code, signal} = await end(this.process, 'SIGTERM', 40_000);
    assert.deepEqual({code, signal}, {code: 0, signal: null}, this.process.err);
    assert.doesNotMatch(this.process.err, /panic|DATA RACE/);
  }

  api(method, params) {
    return call(this.port, method, params);
  }

  // Publishes, and does so again with the same key while the cluster has no leader or the node is away.
  publish(channel, data) {
    const key = randomUUID();
    const again = async () => {
      for (;;) {
        const said = await this.api('publish', {channel, data, idempotency_key: key}).catch(() => null);
        if (said) return said;
      }
    };
    return within(30_000, `${this.name} to publish`, again());
  }
}

// Starts the three nodes of the README, with these flags too, and ends them with the test t.
export async function cluster(t, ...flags) {
  const program = await build('examples/cluster');
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-cluster-'));
  const lines = commands('go -C examples/cluster run . ');
  assert.equal(lines.length, 3, 'the README has three commands');
  const ports = new Map();
  for (const [port] of lines.join().matchAll(/(?<=127\.0\.0\.1:)\d+/g)) if (!ports.has(port)) ports.set(port, await freePort());
  const own = (line) => line.replaceAll(/(?<=127\.0\.0\.1:)\d+/g, (port) => ports.get(port)).replaceAll('/tmp/', `${dir}/`);
  const nodes = lines.map((line) => new Node(program, [...own(line).split(/\s+/).slice(5), ...flags], dir));
  t.after(async () => {
    await Promise.all(nodes.map((node) => node.kill()));
    rmSync(dir, {recursive: true, force: true});
  });
  for (const node of nodes) node.start();
  await Promise.all(nodes.map((node) => node.ready()));
  return Object.assign(nodes, {
    // Publishes as the README does, and returns what curl says.
    async curl() {
      const [line] = commands(`curl -H 'X-API-Key: ${key}' -d '{"channel":"news","data":{"text"`);
      const {code, out, err} = await run('sh', ['-c', own(line)]);
      assert.equal(code, 0, err);
      return JSON.parse(out);
    },
  });
}

// A WebSocket for SDKs that goes to one of these nodes, and to another one at each new attempt; first is where it begins.
export function anyOf(nodes, first = 0) {
  let at = first;
  return class extends WebSocket {
    constructor(url, ...rest) {
      super(nodes[at++ % nodes.length].url, ...rest);
    }
  };
}
