// One connection that comes back by itself, into the same cell.
import { BOARD, decode, encode, HELLO, PING, PONG, SUBPROTOCOL, VERSION, WELCOME, WireError } from './wire.js';

const STORED = 'sockmill-arena'; // {name, token}: this tab only, and never in a URL, which logs keep
const SILENCE = 5_000; // with 30 snapshots a second nobody is silent for so long
const PING_EVERY = 1_000;
const BACKOFF_MIN = 400;
const BACKOFF_MAX = 8_000; // the server keeps a cell for 30 s: several attempts fit
const CLOSE_UNREADABLE = 4002;
const CLOSE_FATAL = [1002, 1003, 1007, 1009]; // our mistake: coming back would repeat it

export function stored() {
  try {
    return { name: '', token: '', ...JSON.parse(sessionStorage.getItem(STORED)) };
  } catch {
    return { name: '', token: '' };
  }
}

const toHex = (bytes) => Array.from(bytes, (b) => b.toString(16).padStart(2, '0')).join('');
const fromHex = (hex) => Uint8Array.from(hex.match(/../g) ?? [], (b) => parseInt(b, 16));

/**
 * events: state(name, detail), refused(reason), message(message, now), traffic(bytes).
 * The states: connecting, connected, reconnecting (seconds), offline (seconds), replaced, stopped
 * (reason), idle.
 */
export class Connection {
  #events; #socket; #who;
  #state = 'idle';
  #timer; #watchdog; #pings;
  #retryAt = 0;
  #attempts = 0;
  rtt = NaN; // ms, of the last ping

  constructor(events) {
    this.#events = events;
    addEventListener('online', () => this.#retryAt && this.reconnect());
    addEventListener('offline', () => this.#retryAt && this.#countDown());
    addEventListener('pagehide', () => this.#drop());
    addEventListener('pageshow', (event) => event.persisted && this.#state !== 'idle' && this.reconnect());
  }

  get open() { return this.#state === 'connected'; }

  play(name, token = '') {
    this.#remember({ name, token });
    this.#attempts = 0;
    this.reconnect();
  }

  reconnect() {
    this.#drop();
    this.#enter('connecting');
    const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/play`, SUBPROTOCOL);
    socket.binaryType = 'arraybuffer';
    this.#socket = socket;
    socket.onopen = () => this.#transmit({ kind: HELLO, name: this.#who.name, token: fromHex(this.#who.token) });
    socket.onmessage = ({ data }) => this.#receive(data);
    socket.onclose = (event) => this.#closed(event);
    this.#watch();
  }

  /** Forgets the cell. */
  leave() {
    this.#drop();
    this.#remember({ name: this.#who.name, token: '' });
    this.#enter('idle');
  }

  /** message: as for encode. False if there is no connection to send it on. */
  send(message) {
    if (!this.open) return false;
    this.#transmit(message);
    return true;
  }

  #transmit(message) {
    const bytes = encode(message);
    this.#socket.send(bytes);
    this.#events.traffic(bytes.length);
  }

  #remember(who) {
    this.#who = who;
    try {
      sessionStorage.setItem(STORED, JSON.stringify(who));
    } catch { /* then a reload starts a new cell */ }
  }

  #receive(data) {
    const now = performance.now();
    this.#watch();
    this.#events.traffic(data.byteLength ?? 0);
    try {
      if (typeof data === 'string') throw new WireError('unknown', 'a text message');
      const message = decode(new Uint8Array(data));
      if (message.kind === WELCOME) this.#welcomed(message);
      else if (message.kind === PONG) this.rtt = now - message.clock;
      else if (message.kind === BOARD) this.#attempts = 0; // it has lasted for a while
      this.#events.message(message, now);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      console.warn(`arena: ${error.message}; connecting again`);
      this.#socket.close(CLOSE_UNREADABLE, error.message.slice(0, 100));
      this.#comeBack(); // a new connection starts with a keyframe
    }
  }

  #welcomed({ version, token }) {
    if (version !== VERSION) throw new WireError('malformed', `the server speaks version ${version}`);
    this.#remember({ name: this.#who.name, token: toHex(token) });
    if (this.open) return; // the world got another size
    this.#enter('connected');
    const ask = () => this.#transmit({ kind: PING, clock: performance.now() });
    this.#pings = setInterval(ask, PING_EVERY);
    ask();
  }

  // A connection can die without a word; waiting for the browser to notice takes minutes.
  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#comeBack(), SILENCE);
  }

  #closed({ code, reason }) {
    if (code === 1008 && /another connection/i.test(reason)) { // has resumed this session
      this.#drop();
      this.#enter('replaced');
    } else if (code === 1008 && /token|session/i.test(reason) && this.#who.token) {
      // The server does not know our cell any more: after a restart, or after too long.
      this.#remember({ name: this.#who.name, token: '' });
      this.reconnect();
    } else if (code === 1008 && /name/i.test(reason)) {
      this.#drop();
      this.#enter('idle');
      this.#events.refused(reason);
    } else if (code === 1008 || CLOSE_FATAL.includes(code)) {
      this.#drop();
      this.#enter('stopped', reason);
    } else {
      this.#comeBack();
    }
  }

  #comeBack() {
    this.#drop();
    const wait = Math.min(BACKOFF_MAX, BACKOFF_MIN * 2 ** this.#attempts++);
    this.#retryAt = performance.now() + wait / 2 + (Math.random() * wait) / 2; // jitter: not all at once
    this.#countDown();
  }

  #countDown() {
    clearTimeout(this.#timer);
    const left = this.#retryAt - performance.now();
    if (left <= 0) return this.reconnect();
    this.#enter(navigator.onLine ? 'reconnecting' : 'offline', Math.ceil(left / 1000));
    this.#timer = setTimeout(() => this.#countDown(), left % 1000 || 1000);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    clearInterval(this.#pings);
    this.#retryAt = 0;
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #enter(state, detail) {
    this.#state = state;
    this.#events.state(state, detail);
  }
}
