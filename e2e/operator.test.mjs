// What examples/echo shows to an operator, and to whom.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {run} from './lib/process.mjs';
import {build, serve} from './lib/server.mjs';

const timeout = 60_000;
const token = 'to change something', readToken = 'to look at something';

// Where -admin listens.
const operator = async (server) => `http://127.0.0.1:${(await server.process.said(/admin on http:\/\/[^ ]*:(\d+)\//))[1]}`;
const bearer = (t) => ({headers: {Authorization: `Bearer ${t}`}});

test('-admin has a page, metrics, and health', {timeout}, async (t) => {
  const server = await serve(t, 'echo', '-admin', '127.0.0.1:0');
  const at = await operator(server);
  for (const [path, pattern] of [['/', /<html/], ['/metrics', /^sockmill_connections_max \d+$/m], ['/healthz', /^ok/], ['/readyz', /^ready/],
    ['/api/status', /"listeners":/], ['/debug/pprof/', /goroutine/]]) {
    const answer = await fetch(at + path);
    assert.equal(answer.status, 200, path);
    assert.match(await answer.text(), pattern, path);
  }
  const {code, err} = await run(await build('echo'), ['-listen', 'ws://127.0.0.1:0', '-admin', new URL(at).host]);
  assert.equal(code, 1);
  assert.match(err, /is taken by another program; choose another port with -admin/);
});

test('-admin for other machines: tokens for all but health', {timeout}, async (t) => {
  const {code, err} = await run(await build('echo'), ['-listen', 'ws://127.0.0.1:0', '-admin', '0.0.0.0:0']);
  assert.equal(code, 1);
  assert.match(err, /-admin: .* is reached from other machines: set -admin-token/);
  const server = await serve(t, 'echo', '-admin', '0.0.0.0:0', '-admin-token', token, '-admin-read-token', readToken);
  const at = await operator(server);
  for (const [path, options, status] of [['/readyz', {}, 200], ['/healthz', {}, 200], ['/metrics', {}, 401], ['/api/status', {}, 401],
    ['/metrics', bearer(readToken), 200], ['/api/status', bearer(readToken), 200], ['/debug/pprof/', bearer(readToken), 403], ['/debug/pprof/', bearer(token), 200],
    ['/metrics', bearer('something else entirely'), 401]]) {
    assert.equal((await fetch(at + path, options)).status, status, `${path} ${JSON.stringify(options)}`);
  }
});
