// The WebSocket side: one connection that comes back by itself, and an outbox that survives it.
import { Clock, frameHeaderBytes, now, utf8Bytes } from './meter.js';

const VERSION = 1;
const ANSWER_WAIT = 10_000; // no welcome or acknowledgement for so long: the connection is dead
const BACKOFF_MIN = 500;
const BACKOFF_MAX = 15_000;
const SLOW_DOWN_WAIT = 1_000;
const TYPING_GAP = 3_000;
const OUTBOX_MAX = 50;
const CLOSE_REPLACED = 4001;
const CLOSE_FATAL = [1002, 1003, 1007, 1008, 1009]; // our mistake: coming back would repeat it

const newID = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (b) => b.toString(36).padStart(2, '0')).join('');

/**
 * Messages leave one at a time, each after the acknowledgement of the one before: so they keep
 * their order when they are sent again. Sent again they carry the same id, which the server
 * stores once; and an offset that was seen is not shown again.
 *
 * events: state(name, seconds), welcome(message), lost(), message(message, own, live),
 * presence(message), status(id, status, reason), refused(message).
 */
export class Connection {
  clock = new Clock();
  me = ''; // public name of our session
  #events; #meter; #who; #socket;
  #state = 'idle';
  #timer; #watchdog;
  #retryAt = 0;
  #attempts = 0;
  #epoch = '';
  #after = 0;
  #mine = new Set(); // me, and those before a restart of the server
  #outbox = [];
  #inFlight = false;
  #askedAt = 0;
  #typedAt = 0;

  constructor(events, meter) {
    this.#events = events;
    this.#meter = meter;
    addEventListener('online', () => this.#retryAt && this.reconnect());
    addEventListener('offline', () => this.#retryAt && this.#countDown());
  }

  /** who: {room, nick, token}; token is the secret of an earlier session, if any. */
  join(who) {
    this.#who = who;
    this.reconnect();
  }

  reconnect() {
    this.#drop();
    this.#enter('connecting');
    const socket = new WebSocket(`${location.origin.replace(/^http/, 'ws')}/ws`);
    this.#socket = socket;
    socket.onopen = () => this.#ask({ t: 'hello', v: VERSION, ...this.#who, epoch: this.#epoch, after: this.#after });
    socket.onmessage = (event) => this.#receive(event.data);
    socket.onclose = (event) => this.#closed(event);
    this.#watch();
  }

  /** Returns {id, text}, or null if too many messages are waiting already. */
  say(text) {
    if (this.#outbox.length >= OUTBOX_MAX) return null;
    const message = { id: newID(), text };
    this.#outbox.push(message);
    queueMicrotask(() => this.#pump()); // after the caller has shown it
    return message;
  }

  typing() {
    if (this.#state !== 'connected' || now() - this.#typedAt < TYPING_GAP) return;
    this.#typedAt = now();
    this.#transmit({ t: 'typing' });
  }

  isMine(u) { return this.#mine.has(u); }

  #pump() {
    if (this.#state !== 'connected' || this.#inFlight || !this.#outbox.length) return;
    this.#inFlight = true;
    this.#typedAt = 0;
    this.#ask({ t: 'say', ...this.#outbox[0] });
  }

  #ask(message) {
    this.#askedAt = now();
    this.#transmit(message);
    this.#watch();
  }

  #transmit(message) {
    const data = JSON.stringify(message);
    const bytes = utf8Bytes(data);
    this.#meter.add(frameHeaderBytes(bytes, true), bytes);
    this.#socket.send(data);
  }

  #receive(data) {
    const bytes = utf8Bytes(data);
    this.#meter.add(frameHeaderBytes(bytes, false), bytes);
    const message = JSON.parse(data);
    switch (message.t) {
      case 'welcome': return this.#welcomed(message);
      case 'msg': return this.#take(message, true);
      case 'ack': return this.#acknowledged(message);
      case 'refused': return this.#refused(message);
      default: return this.#events.presence(message);
    }
  }

  #welcomed(message) {
    this.#answered(message.now);
    this.#meter.requests++;
    this.#meter.add(message.head[0] + message.head[1], 0);
    this.#attempts = 0;
    this.#who.token = message.token;
    this.me = message.you.u;
    this.#mine.add(this.me);
    this.#enter('connected');
    this.#events.welcome(message);
    if (message.lost) this.#events.lost();
    if (message.epoch !== this.#epoch) this.#after = 0;
    this.#epoch = message.epoch;
    for (const missed of message.messages) this.#take(missed, false);
    this.#after = message.next;
    this.#pump();
  }

  #take(message, live) {
    if (message.o <= this.#after) return;
    this.#after = message.o;
    const own = this.isMine(message.u);
    // The answer to what was in flight when the connection broke: it had arrived.
    if (own && !live) this.#outbox = this.#outbox.filter((waiting) => waiting.id !== message.id);
    if (live) this.#meter.arrived(this.clock.since(message.at));
    this.#events.message(message, own, live);
  }

  #acknowledged(message) {
    if (this.#outbox[0]?.id !== message.id) return;
    this.#answered(message.at);
    this.#outbox.shift();
    this.#inFlight = false;
    this.#events.status(message.id, 'sent');
    this.#pump();
  }

  #refused(message) {
    this.#answered(0);
    if (!message.id) {
      this.#drop();
      this.#enter('stopped');
      this.#events.refused(message);
    } else if (message.code === 'slow_down') {
      this.#timer = setTimeout(() => {
        this.#inFlight = false;
        this.#pump();
      }, SLOW_DOWN_WAIT);
    } else {
      this.#outbox.shift();
      this.#inFlight = false;
      this.#events.status(message.id, 'failed', message.reason);
      this.#pump();
    }
  }

  #answered(server) {
    clearTimeout(this.#watchdog);
    if (server) this.clock.sample(this.#askedAt, server);
  }

  // A connection can die without a word; then waiting for the browser to notice takes minutes.
  #watch() {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#comeBack(), ANSWER_WAIT);
  }

  #closed({ code, reason }) {
    if (code === CLOSE_REPLACED || CLOSE_FATAL.includes(code)) {
      this.#drop();
      this.#enter(code === CLOSE_REPLACED ? 'replaced' : 'stopped', reason);
    } else {
      this.#comeBack();
    }
  }

  #comeBack() {
    this.#drop();
    const wait = Math.min(BACKOFF_MAX, BACKOFF_MIN * 2 ** this.#attempts++);
    this.#retryAt = now() + wait / 2 + (Math.random() * wait) / 2; // jitter: not all at once
    this.#countDown();
  }

  #countDown() {
    clearTimeout(this.#timer);
    const left = this.#retryAt - now();
    if (left <= 0) return this.reconnect();
    this.#enter(navigator.onLine ? 'reconnecting' : 'offline', Math.ceil(left / 1000));
    this.#timer = setTimeout(() => this.#countDown(), left % 1000 || 1000);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#retryAt = 0;
    this.#inFlight = false;
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
