// Windows in which the page of ops/admin is open, and the server behind it: a test program of ops/admin, with an engine and a hub, or with connections
// that are only simulated.
import assert from 'node:assert/strict';
import {mkdtempSync, rmSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {fileURLToPath} from 'node:url';
import {Window} from './browser.mjs';
import {end, launch, run, tool} from './process.mjs';

const module = fileURLToPath(new URL('../../ops/admin', import.meta.url));
const dir = process.env.E2E_PROGRAMS ?? mkdtempSync(join(tmpdir(), 'sockmill-e2e-'));
if (!process.env.E2E_PROGRAMS) process.on('exit', () => rmSync(dir, {recursive: true, force: true}));

// Each file of tests links a program of its own: they run at the same time.
let program;
const build = () => (program ??= compile());

async function compile() {
  const file = join(dir, `ops-admin-${process.pid}.test`);
  const {code, err} = await run(tool('go', 'golang'), ['test', '-c', '-o', file, '.'], {cwd: module, env: {...process.env, GOWORK: 'off'}, timeout: 180_000});
  assert.equal(code, 0, err);
  return file;
}

// Starts it on a port (0: any). .port is the page's, .echo and .hub are the URLs of its WebSockets.
export async function start(port, ...flags) {
  const p = launch(await build(), ['-admin.serve', `127.0.0.1:${port}`, ...flags]);
  const [, got] = await p.said(/page on http:\/\/127\.0\.0\.1:(\d+)\//);
  const echo = p.out.match(/echo on (ws:\S+)/)?.[1];
  const hub = p.out.match(/hub on (ws:\S+)/)?.[1];
  return {process: p, port: Number(got), echo, hub};
}

export async function stop(server) {
  server.stopped = true;
  const {code, signal} = await end(server.process, 'SIGTERM');
  assert.deepEqual({code, signal}, {code: 0, signal: null}, server.process.err);
}

// The same, until the test t ends.
export async function serve(t, ...flags) {
  const server = await start(0, ...flags);
  t.after(() => server.stopped || stop(server));
  return server;
}

export const changeToken = 'e2e-token-to-change';
export const readToken = 'e2e-token-to-read';
export const tokens = ['-admin.token', changeToken, '-admin.read-token', readToken];

export class Operator extends Window {
  nick = 'the operator';

  static async open(browser, port, {view = 'overview', ...options} = {}) {
    const admin = await super.open(browser, port, {path: `/#/${view}`, ...options});
    admin.page.setDefaultTimeout(30_000);
    return admin;
  }

  async go(view) {
    await this.page.evaluate((hash) => { location.hash = `/${hash}`; }, view);
    await this.drawn(view.split(/[/?]/)[0]);
  }

  // Waits until the view is there with its data.
  drawn(view) {
    return this.page.locator(`body[data-drawn="${view}"]`).waitFor();
  }

  // Waits until the page has drawn so many more answers of the server.
  async refreshed(n = 1) {
    await this.page.evaluate((more) => new Promise((resolve) => {
      let left = more;
      document.addEventListener('drawn', function drawn() {
        if (--left > 0) return;
        document.removeEventListener('drawn', drawn);
        resolve();
      });
    }), n);
  }

  async signIn(token) {
    await this.at('token').fill(token);
    await this.at('sign-in').click();
  }

  row(text) {
    return this.at('list').locator('tbody tr').filter({hasText: text});
  }

  // How a definition list calls this.
  fact(list, name) {
    return this.at(list).locator('div').filter({has: this.page.locator('dt').getByText(name, {exact: true})}).locator('dd');
  }
}
