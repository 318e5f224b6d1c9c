// centrifuge-go as the client and gocent as the backend: the Go tests of hub/client,
// against the server of the other tests.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import {apiKey, hub, secret} from './lib/hub.mjs';
import {run, tool} from './lib/process.mjs';

const server = hub('full');

test('centrifuge-go and gocent', {timeout: 180_000}, async () => {
  const {code, out, err} = await run(tool('go', 'golang'),
    ['test', '-count=1', '-timeout', '60s', '-json', './client', '-addr', `127.0.0.1:${server.port}`, '-secret', secret, '-api-key', apiKey],
    {cwd: fileURLToPath(new URL('hub', import.meta.url)), env: {...process.env, GOWORK: 'off'}, timeout: 170_000});
  const said = out.trim().split('\n').map((line) => JSON.parse(line));
  assert.equal(code, 0, said.map(({Output: text = ''}) => (text.startsWith('=== ') ? '' : text)).join('') + err);
  const passed = said.filter(({Action: action, Test: name}) => action === 'pass' && name).map(({Test: name}) => name);
  for (const format of ['json', 'protobuf']) {
    assert.ok(passed.includes(`TestRecovery/${format}`), passed.join());
  }
});
