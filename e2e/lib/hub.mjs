// The servers that speak the Centrifugal protocol, the tokens that they take, and
// their HTTP API.
import assert from 'node:assert/strict';
import {createHmac} from 'node:crypto';
import {after, before} from 'node:test';
import {centrifugo} from './centrifugo.mjs';
import {start, stop} from './server.mjs';

export const secret = 'secret-of-the-tests';
export const apiKey = 'key-of-the-tests';

// Whether the server is Centrifugo.
export const reference = Boolean(process.env.E2E_CENTRIFUGO);

const base64 = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

// A JWT of these claims. alg and key make it wrong.
export function token(claims, {alg = 'HS256', key = secret} = {}) {
  const body = `${base64({alg, typ: 'JWT'})}.${base64(claims)}`;
  return `${body}.${alg === 'none' ? '' : createHmac('sha256', key).update(body).digest('base64url')}`;
}

// The time in seconds, as tokens have it.
export const inSeconds = (n) => Math.floor(Date.now() / 1000) + n;

// A name that no other test has, so that tests can share a server.
let names = 0;
export const fresh = (what) => `${what}-${process.pid}-${++names}`;

const kinds = {
  example: (port) => start('hub', port, ['-secret', secret, '-api-key', apiKey, '-history', '1000', '-history-for', '5m']),
  full: (port) => start('e2e/hub/server', port, ['-secret', secret, '-api-key', apiKey]),
};

// A server for all tests of a file; to be called at its top. The example is
// examples/hub, as people start it; the full one is e2e/hub/server, which has also
// namespaces, RPC and short times. With E2E_CENTRIFUGO, both are Centrifugo.
export function hub(kind) {
  const server = {api: (method, params) => api(server, method, params), call: (...args) => call(server, ...args)};
  let halt = async () => {};
  const run = async (port) => {
    const it = reference ? await centrifugo({secret, apiKey}, port) : await kinds[kind](port);
    halt = it.stop ?? (() => stop(it));
    server.port = it.port;
    server.url = `ws://127.0.0.1:${it.port}/connection/websocket`;
  };
  server.restart = async () => {
    await halt();
    await run(server.port);
  };
  before(() => run(0));
  after(() => halt());
  return server;
}

// Calls the HTTP API and returns {status, text, body}; body is of JSON.
async function call(server, path, body, headers = {'X-API-Key': apiKey}) {
  const response = await fetch(`http://127.0.0.1:${server.port}${path}`, {
    method: 'POST', redirect: 'error', body: typeof body === 'string' ? body : JSON.stringify(body), headers,
  });
  const text = await response.text();
  return {status: response.status, text, get body() { return JSON.parse(text); }};
}

// Calls a method that has to succeed, and returns its result.
async function api(server, method, params = {}) {
  const answer = await call(server, `/api/${method}`, params);
  assert.equal(answer.status, 200, answer.text);
  const {body} = answer;
  assert.equal(body.error, undefined, `${method}: ${JSON.stringify(body)}`);
  return body.result ?? body;
}
