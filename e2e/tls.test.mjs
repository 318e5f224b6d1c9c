// examples/echo over TLS. clients.test.mjs has the clients of other languages.
import assert from 'node:assert/strict';
import {readFileSync} from 'node:fs';
import {test} from 'node:test';
import {browse} from './lib/browser.mjs';
import {ca, file, keyHash, secure} from './lib/certificate.mjs';
import {Peer} from './lib/peer.mjs';
import {end, launch, run, tool} from './lib/process.mjs';
import {frame, request, response} from './lib/raw.mjs';
import {shared} from './lib/server.mjs';

const timeout = 60_000;
const server = shared('echo', '-mode', 'echo', ...secure);
const [text, close] = [1, 8];

test('Chromium', {timeout}, async (t) => {
  const browser = await browse(t, `--ignore-certificate-errors-spki-list=${keyHash}`);
  const page = await browser.newPage();
  const answer = await page.goto(`https://localhost:${server.port}/`);
  assert.equal(answer.status(), 426);
  assert.equal((await answer.securityDetails()).protocol, 'TLS 1.3');
  const got = await page.evaluate(async () => {
    const ws = new WebSocket(`wss://${location.host}/`);
    ws.binaryType = 'arraybuffer';
    const next = (event) => new Promise((resolve, reject) => {
      ws.addEventListener(event, resolve, {once: true});
      ws.addEventListener('error', () => reject(new Error(`an error in place of ${event}`)), {once: true});
    });
    const echo = async (data) => {
      ws.send(data);
      return (await next('message')).data;
    };
    await next('open');
    const short = await echo('héllo €');
    const bytes = Uint8Array.from({length: 1 << 20}, (_, i) => i * 31);
    const back = new Uint8Array(await echo(bytes));
    ws.close(3000, 'bye');
    const {code, wasClean} = await next('close');
    return {short, same: back.length === bytes.length && back.every((b, i) => b === bytes[i]), code, wasClean};
  });
  assert.deepEqual(got, {short: 'héllo €', same: true, code: 3000, wasClean: true});
});

test('a browser that does not know the certificate', {timeout}, async (t) => {
  const page = await (await browse(t)).newPage();
  await assert.rejects(page.goto(`https://localhost:${server.port}/`), /ERR_CERT_AUTHORITY_INVALID/);
});

test("npm's ws", {timeout}, async () => {
  const peer = await Peer.open(server.url, {ca: readFileSync(ca), perMessageDeflate: false});
  const data = 'x'.repeat(1 << 20);
  peer.ws.send(data);
  assert.ok((await peer.next()).data === data);
  assert.deepEqual(await peer.close(1000), {type: 'close', code: 1000, reason: ''});
});

for (const [what, args, scheme, status] of [
  ['plain HTTP over TLS', ['--cacert', ca], 'https', 426],
  ['plain HTTP without TLS', [], 'http', 400],
]) {
  test(`curl, ${what}: ${status}`, {timeout}, async () => {
    const {code, out, err} = await run(tool('curl', 'curl'), ['-sS', '-i', '--max-time', '5', ...args, `${scheme}://localhost:${server.port}/`]);
    assert.equal(code, 0, err);
    assert.equal(response(Buffer.from(out, 'latin1')).status, status);
  });
}

// Starts s_client. Its letters are commands only as the first byte of a read.
function sClient(t, version, ...args) {
  const p = launch(tool('openssl', 'openssl'), ['s_client', '-connect', `localhost:${server.port}`, '-CAfile', ca, '-verify_return_error',
    '-verify_hostname', 'localhost', `-tls${version.replace('.', '_')}`, '-msg', ...args], {stdio: ['pipe', 'pipe', 'pipe']});
  t.after(() => end(p));
  p.exchange = (bytes, answer) => {
    p.child.stdin.write(bytes);
    return p.said(answer);
  };
  return p;
}

// What -msg shows when the server's close_notify comes, and s_client heeds it.
const closed = (version) => new RegExp(`<<< TLS ${version}, Alert .*, warning close_notify\n[^]*^closed\n`, 'm');

for (const version of ['1.2', '1.3']) {
  test(`openssl s_client, TLS ${version}: resumption, and close_notify at the end`, {timeout}, async (t) => {
    const session = file(`session${version}`);
    for (const [how, option] of [['New', '-sess_out'], ['Reused', '-sess_in']]) {
      const client = sClient(t, version, option, session);
      await client.said(new RegExp(`^${how}, TLSv${version}, `, 'm'));
      await client.exchange(request(), /^HTTP\/1\.1 101 /m);
      await client.exchange(frame(text, 'hello'), /hello/);
      await client.exchange(frame(close), closed(version));
      assert.equal((await client.exited).code, 0, client.err);
    }
  });

  test(`openssl s_client, TLS ${version}: close_notify after a refusal`, {timeout}, async (t) => {
    const client = sClient(t, version);
    await client.said(/^New, /m);
    await client.exchange(request({'Sec-WebSocket-Key': undefined}), /^HTTP\/1\.1 400 /m);
    await client.said(closed(version));
    assert.equal((await client.exited).code, 0, client.err);
  });
}

test('openssl s_client: new keys before the request and between messages', {timeout}, async (t) => {
  const client = sClient(t, '1.3');
  await client.said(/^New, /m);
  await client.exchange('K\n', /<<< .*, KeyUpdate\n/); // which asks the server for a new key of its own
  await client.exchange(request(), /^HTTP\/1\.1 101 /m);
  await client.exchange(frame(text, 'message 1'), /message 1/);
  await client.exchange('k\n', /KEYUPDATE[^]*KEYUPDATE/); // which does not
  await client.exchange(frame(text, 'message 2'), /message 2/);
  await client.exchange('K\n', /<<< .*, KeyUpdate\n[^]*<<< .*, KeyUpdate\n/);
  await client.exchange(frame(text, 'message 3'), /message 3/);
  await client.exchange(frame(close), closed('1.3'));
});
