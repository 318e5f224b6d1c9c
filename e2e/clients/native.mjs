// Talks to the echo server at argv[2] with Node's own WebSocket client.
import assert from 'node:assert/strict';
import {once} from 'node:events';

const ws = new WebSocket(process.argv[2]);
ws.binaryType = 'arraybuffer';
const echo = async (data) => {
  const answer = once(ws, 'message');
  ws.send(data);
  return (await answer)[0].data;
};

await once(ws, 'open');
assert.equal(await echo('héllo €'), 'héllo €');
console.log('text');
const bytes = Uint8Array.from({length: 70_000}, (_, i) => i);
assert.deepEqual(new Uint8Array(await echo(bytes)), bytes);
console.log('binary');
const large = 'x'.repeat(1 << 20);
assert.ok(await echo(large) === large);
console.log('large');
const closed = once(ws, 'close');
ws.close(3000, 'bye');
const [event] = await closed;
assert.deepEqual([event.code, event.wasClean], [3000, true]);
console.log('close');
