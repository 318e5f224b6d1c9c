// The wire format arena.1: bytes to objects and back, with the fields of testdata/golden.json.
// Pure, and strict: what is not exactly one message is a WireError.

export const VERSION = 1;
export const SUBPROTOCOL = 'arena.1';
export const HELLO = 1, INPUT = 2, PING = 3, RESPAWN = 4; // kinds of messages: of a client
export const WELCOME = 129, SNAPSHOT = 130, PONG = 131, BOARD = 132, DIED = 133; // of the server
export const SPLIT = 1, EJECT = 2; // flags of an input
export const RESUMED = 1, RESIZED = 2; // of a welcome
export const KEYFRAME = 1, DEAD = 2; // of a snapshot
export const FOOD = 0, CELL = 1, EJECTED = 2, SPIKE = 3; // kinds of entities
export const POSITIONS = 65535; // across the world
export const RADII = 16; // to a unit of the world

const LOOK = 1, PLACE = 2, SIZE = 4, NAME = 8; // bits of a record's mask
const TOKEN_BYTES = 256;

/** code: truncated, trailing, unknown, malformed; from world.js also base and unknown entity. */
export class WireError extends Error {
  name = 'WireError';

  constructor(code, text) {
    super(text);
    this.code = code;
  }
}

// Client to server.

const utf8 = new TextEncoder();

/** message: {kind, …} with the fields of that kind. Returns its bytes. */
export function encode(message) {
  switch (message.kind) {
    case HELLO: return hello(message);
    case INPUT: return bytes(14, message, (view) => {
      view.setUint32(1, message.seq, true);
      view.setFloat32(5, message.dx, true);
      view.setFloat32(9, message.dy, true);
      view.setUint8(13, message.flags);
    });
    case PING: return bytes(9, message, (view) => view.setFloat64(1, message.clock, true));
    case RESPAWN: return bytes(1, message, () => {});
    default: throw new RangeError(`no message of a client: ${message.kind}`);
  }
}

function bytes(length, { kind }, fill) {
  const view = new DataView(new ArrayBuffer(length));
  view.setUint8(0, kind);
  fill(view);
  return new Uint8Array(view.buffer);
}

function hello({ kind, name, token = new Uint8Array(), version = VERSION }) {
  const n = utf8.encode(name);
  if (n.length > 255 || token.length > TOKEN_BYTES) throw new RangeError('name or token too long');
  return new Uint8Array([kind, version, n.length, ...n, token.length & 255, token.length >> 8, ...token]);
}

// Server to client.

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

class Reader {
  #bytes; #view; #at = 0;

  constructor(source) {
    this.#bytes = source;
    this.#view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  }

  get left() { return this.#bytes.length - this.#at; }

  #skip(n) {
    if (this.left < n) throw new WireError('truncated', `the message ends at byte ${this.#bytes.length}`);
    this.#at += n;
    return this.#at - n;
  }

  u8() { return this.#view.getUint8(this.#skip(1)); }
  u16() { return this.#view.getUint16(this.#skip(2), true); }
  u32() { return this.#view.getUint32(this.#skip(4), true); }

  f32() { return finite(this.#view.getFloat32(this.#skip(4), true)); }
  f64() { return finite(this.#view.getFloat64(this.#skip(8), true)); }

  varint() {
    let value = 0;
    for (let i = 0; i < 5; i++) {
      const byte = this.u8();
      value += (byte & 127) * 2 ** (7 * i);
      if (byte < 128 && value <= 0xffffffff) return value;
    }
    throw new WireError('malformed', 'a varint beyond 32 bits');
  }

  take(n) {
    const at = this.#skip(n);
    return this.#bytes.slice(at, at + n);
  }

  string() {
    try {
      return strict.decode(this.take(this.u8()));
    } catch (error) {
      throw error instanceof WireError ? error : new WireError('malformed', 'a string that is not UTF-8');
    }
  }

  token() {
    const n = this.u16();
    if (n > TOKEN_BYTES) throw new WireError('malformed', `a token of ${n} bytes`);
    return this.take(n);
  }

  /** n items. Each takes a byte at least, so that no number makes this long. */
  list(n, read) {
    const items = [];
    for (let i = 0; i < n; i++) items.push(read(this));
    return items;
  }
}

function finite(f) {
  if (!Number.isFinite(f)) throw new WireError('malformed', `${f} for a number`);
  return f;
}

/** source: Uint8Array with one message. Returns {kind, …}; nothing in it refers to source. */
export function decode(source) {
  const r = new Reader(source);
  const kind = r.u8();
  const read = readers[kind];
  if (!read) throw new WireError('unknown', `unknown message ${kind}`);
  const message = { kind, ...read(r) };
  if (r.left) throw new WireError('trailing', `${r.left} bytes behind the message`);
  return message;
}

const readers = {
  [WELCOME]: (r) => ({
    version: r.u8(), player: r.u32(), world: r.f32(), period: r.u16(), grace: r.u16(), flags: r.u8(), token: r.token(),
  }),
  [SNAPSHOT]: (r) => ({
    flags: r.u8(), tick: r.u32(), due: r.f64(), base: r.u32(), ack: r.u32(), cost: r.u16(), dropped: r.u32(),
    removed: r.list(r.varint(), () => r.varint()),
    changed: r.list(r.varint(), record),
  }),
  [PONG]: (r) => ({ clock: r.f64(), unixMs: r.f64() }),
  [BOARD]: (r) => ({
    players: r.u16(),
    leaders: r.list(r.u8(), () => ({ player: r.u32(), mass: r.u32(), name: r.string() })),
    rank: r.u16(), mass: r.u32(),
    dots: r.list(r.u8(), () => ({ x: r.u8(), y: r.u8(), size: r.u8() })),
  }),
  [DIED]: (r) => ({ by: r.u32(), byName: r.string(), mass: r.u32(), ticks: r.u32() }),
};

function record(r) {
  const e = { id: r.varint(), mask: r.u8() };
  if (e.mask & ~(LOOK | PLACE | SIZE | NAME)) throw new WireError('malformed', `unknown fields ${e.mask}`);
  if (e.mask & LOOK) {
    e.kind = r.u8();
    if (e.kind > SPIKE) throw new WireError('malformed', `an unknown kind of entity: ${e.kind}`);
    e.owner = r.varint();
    e.hue = r.u8();
  }
  if (e.mask & PLACE) [e.x, e.y] = [r.u16(), r.u16()];
  if (e.mask & SIZE) e.radius = r.u16();
  if (e.mask & NAME) e.name = r.string();
  return e;
}

const NAME_RUNES = 16;

/** What is wrong with a name, in words for who typed it; '' if nothing is. */
export function nameError(name) {
  const runes = [...name].length;
  if (!runes) return 'Please enter a name.';
  if (runes > NAME_RUNES) return `At most ${NAME_RUNES} characters, please.`;
  if (/[\p{C}\p{Zl}\p{Zp}]/u.test(name)) return 'Letters, digits and signs only, please.';
  return '';
}
