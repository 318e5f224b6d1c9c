// Bytes on a TCP connection, written by hand: for requests and frames that no
// client would send.
import {once} from 'node:events';
import {connect} from 'node:net';
import {within} from './process.mjs';

export const key = 'dGhlIHNhbXBsZSBub25jZQ==';

// An opening handshake, changed by replacing ({Host: undefined} leaves it out)
// or adding fields, or by another request line.
export function request(fields = {}, line = 'GET / HTTP/1.1') {
  const all = {
    Host: '127.0.0.1', Upgrade: 'websocket', Connection: 'Upgrade',
    'Sec-WebSocket-Key': key, 'Sec-WebSocket-Version': '13', ...fields,
  };
  const lines = Object.entries(all).filter(([, v]) => v !== undefined).map(([k, v]) => `${k}: ${v}`);
  return [line, ...lines, '', ''].join('\r\n');
}

// One masked frame. Options make it wrong: mask: false, rsv, length (the
// announced one, as a BigInt in the 8-byte form).
export function frame(opcode, payload = '', {fin = true, rsv = 0, mask = true, length} = {}) {
  const data = Buffer.from(payload);
  const m = mask ? 0x80 : 0;
  const head = [(fin ? 0x80 : 0) | (rsv << 4) | opcode];
  const size = Buffer.alloc(8);
  if (length !== undefined) {
    size.writeBigUInt64BE(length);
    head.push(m | 127, ...size);
  } else if (data.length < 126) {
    head.push(m | data.length);
  } else {
    size.writeUInt16BE(data.length);
    head.push(m | 126, size[0], size[1]);
  }
  const keyBytes = [0x11, 0x22, 0x33, 0x44];
  if (!mask) return Buffer.concat([Buffer.from(head), data]);
  return Buffer.concat([Buffer.from(head), Buffer.from(keyBytes), data.map((b, i) => b ^ keyBytes[i % 4])]);
}

// Sends bytes and reads until the server ends the connection; our own side
// stays open until then, so that the server is the one that closes. With
// flood, that is sent again and again until the server answers.
export async function exchange(port, bytes, {flood, ms = 5000} = {}) {
  const socket = connect({port, host: '127.0.0.1', allowHalfOpen: true});
  const got = [];
  socket.on('data', (d) => got.push(d));
  const ended = once(socket, 'end');
  try {
    await within(ms, 'the connection', once(socket, 'connect'));
    socket.write(bytes);
    const more = () => {
      if (got.length === 0 && !socket.destroyed) socket.write(flood, () => setImmediate(more));
    };
    if (flood) more();
    await within(ms, () => `the server to close, after:\n${Buffer.concat(got).toString('latin1')}`, ended);
    return Buffer.concat(got);
  } finally {
    socket.destroy();
  }
}

// The parts of an HTTP response. Field names in lower case.
export function response(bytes) {
  const text = bytes.toString('latin1');
  const [head, ...rest] = text.split('\r\n\r\n');
  const [line, ...lines] = head.split('\r\n');
  const fields = Object.fromEntries(lines.map((l) => [l.slice(0, l.indexOf(':')).toLowerCase(), l.slice(l.indexOf(':') + 1).trim()]));
  return {status: Number(line.split(' ')[1]), line, fields, body: rest.join('\r\n\r\n')};
}

// The frames after a 101, each {opcode, fin, payload}.
export function frames(bytes) {
  const list = [];
  let at = bytes.indexOf('\r\n\r\n') + 4;
  while (at < bytes.length) {
    const [first, second] = bytes.subarray(at);
    let size = second & 127;
    at += 2;
    if (size === 126) { size = bytes.readUInt16BE(at); at += 2; }
    else if (size === 127) { size = Number(bytes.readBigUInt64BE(at)); at += 8; }
    list.push({fin: first >= 128, opcode: first & 15, payload: bytes.subarray(at, at + size)});
    at += size;
  }
  return list;
}

// The code in the close frame that ends what the server sent.
export function closeCode(bytes) {
  const last = frames(bytes).at(-1);
  return last?.opcode === 8 ? last.payload.readUInt16BE(0) : undefined;
}
