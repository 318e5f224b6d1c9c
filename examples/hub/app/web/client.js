// A client of the Centrifugal protocol, in JSON over a WebSocket: as much of it as this page needs.
// A frame holds one or more objects, one a line. A command has an id and so has its reply; what has no id
// is a push; an empty object is a ping.

const ANSWER_WAIT = 10_000; // ms without a frame while connecting, and what a ping may be late: then the connection is dead
const BACKOFF_MIN = 400;
const BACKOFF_MAX = 20_000;
const RETRY_WAIT = 1_000; // ms, at least, until a channel is asked for again after a temporary error
const RESUBSCRIBE = 2500; // an unsubscribe push with this code or a higher one: subscribe again

// Close codes after which coming back would end in the same way.
const isFinal = (code) => (code >= 3500 && code < 4000) || (code >= 4500 && code < 5000);

/** Why a call failed: an error of the protocol. Code 0: the connection ended before the reply, so the server may have done it or not. */
export class Failure extends Error {
  constructor({ code = 0, message = 'the connection ended', temporary = false } = {}) {
    super(message);
    this.code = code;
    this.temporary = temporary;
  }
}

/**
 * One connection, to one of the nodes at urls, that comes back by itself, and with it the channels that are followed, each from the
 * position {epoch, offset} of the last publication that came.
 *
 * It begins at the first node, and goes to another one when it has lost its own.
 *
 * credentials() is asked before each attempt and returns {token} or {data}, or a promise of it; a Failure
 * that is not temporary stops the client.
 *
 * events: state(name, detail): "connecting"; "connected" with the reply to connect; "waiting" and
 * "cut" with the time of the next attempt, in ms since 1970; "stopped" with the Failure.
 * subscribed(channel, {epoch, offset, publications, recovering, recovered}): recovering says whether a
 * position was sent, recovered whether the publications are all that was missed since then.
 * publication(channel, publication). presence(channel, "join" or "leave", info).
 * refused(channel, Failure): it is not followed any more.
 */
export class Client {
  id = ''; // by the server's word; each connection has another one
  #urls; #credentials; #events;
  #at = 0; // of #urls: the node to connect to
  #socket = null;
  #state = 'idle';
  #channels = new Map(); // name → {position: {epoch, offset}, or null if there is none}
  #calls = new Map(); // id → function of the reply
  #lastID = 0;
  #attempts = 0;
  #pong = false;
  #patience = ANSWER_WAIT;
  #watchdog; #timer;

  constructor(urls, credentials, events) {
    this.#urls = urls;
    this.#credentials = credentials;
    this.#events = events;
    addEventListener('online', () => this.#state === 'waiting' && this.connect());
  }

  /** Connects now, whatever it is waiting for. */
  connect() {
    this.#drop();
    const socket = this.#socket = new WebSocket(this.#urls[this.#at]);
    this.#patience = ANSWER_WAIT;
    this.#watch();
    socket.onopen = () => this.#hello(socket);
    socket.onmessage = ({ data }) => {
      this.#watch();
      for (const line of data.split('\n')) {
        if (line && socket === this.#socket) this.#receive(JSON.parse(line));
      }
    };
    socket.onclose = ({ code, reason }) => {
      if (isFinal(code)) this.#stop(new Failure({ code, message: reason || `the server closed the connection with ${code}` }));
      else this.#comeBack();
    };
    this.#enter('connecting');
  }

  /** Closes the socket and stays away for ms: what a tunnel does to a phone. */
  cut(ms) {
    this.#drop();
    this.#connectIn(ms, 'cut');
  }

  follow(channel) {
    if (this.#channels.has(channel)) return;
    this.#channels.set(channel, { position: null });
    if (this.#state === 'connected') this.#subscribe(channel);
  }

  unfollow(channel) {
    if (this.#channels.delete(channel) && this.#state === 'connected') this.#send('unsubscribe', { channel }, () => {});
  }

  /** Sends a command, such as publish, presence or history, and resolves to its result, or fails with a Failure. */
  call(method, params) {
    return new Promise((resolve, reject) => {
      if (this.#state !== 'connected') return reject(new Failure({ message: 'not connected', temporary: true }));
      this.#send(method, params, ({ error, ...reply }) => error ? reject(new Failure(error)) : resolve(reply[method] ?? {}));
    });
  }

  async #hello(socket) {
    let params;
    try {
      params = await this.#credentials();
    } catch (error) {
      if (socket !== this.#socket) return;
      return error instanceof Failure && !error.temporary ? this.#stop(error) : this.#comeBack();
    }
    if (socket !== this.#socket) return;
    this.#send('connect', { name: 'sockmill', ...params }, ({ error, connect }) => {
      if (error?.code === 0) return; // whoever dropped the connection has said what is next
      if (error) return error.temporary ? this.#comeBack() : this.#stop(new Failure(error));
      this.id = connect.client;
      this.#pong = connect.pong === true;
      this.#patience = connect.ping ? connect.ping * 1000 + ANSWER_WAIT : 0;
      this.#attempts = 0;
      this.#watch();
      for (const name of this.#channels.keys()) this.#subscribe(name);
      this.#enter('connected', connect);
    });
  }

  // done is called before the next line is read: what follows a reply may lie in the same frame, and must
  // not overtake it.
  #send(method, params, done) {
    this.#calls.set(++this.#lastID, done);
    this.#write({ id: this.#lastID, [method]: params });
  }

  // A socket may have begun to close, and onclose is to come: then all calls fail.
  #write(command) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(command));
  }

  #receive({ id, push, ...reply }) {
    if (id) {
      const done = this.#calls.get(id);
      this.#calls.delete(id);
      done?.(reply);
    } else if (push) {
      this.#pushed(push);
    } else if (this.#pong) {
      this.#write({});
    }
  }

  #subscribe(channel) {
    const socket = this.#socket;
    const followed = this.#channels.get(channel);
    const { position } = followed;
    this.#send('subscribe', { channel, join_leave: true, ...(position && { recover: true, ...position }) }, ({ error, subscribe }) => {
      const isCurrent = () => socket === this.#socket && followed === this.#channels.get(channel);
      if (!isCurrent()) return;
      if (error?.temporary) {
        setTimeout(() => isCurrent() && this.#subscribe(channel), RETRY_WAIT * (1 + Math.random()));
      } else if (error) {
        this.#refuse(channel, error);
      } else {
        const { epoch = '', recovered = false, recoverable } = subscribe;
        const publications = subscribe.publications ?? [];
        const offset = publications.at(-1)?.offset ?? subscribe.offset ?? 0; // each publication moves us on
        followed.position = recoverable ? { epoch, offset } : null;
        this.#events.subscribed(channel, { epoch, offset, publications, recovered, recovering: position !== null });
      }
    });
  }

  #pushed({ channel, pub, join, leave, unsubscribe }) {
    const followed = this.#channels.get(channel);
    if (!followed) return;
    if (pub) {
      if (followed.position) followed.position.offset = pub.offset;
      this.#events.publication(channel, pub);
    } else if (join || leave) {
      this.#events.presence(channel, join ? 'join' : 'leave', (join ?? leave).info);
    } else if (unsubscribe?.code >= RESUBSCRIBE) {
      this.#subscribe(channel);
    } else if (unsubscribe) {
      this.#refuse(channel, { code: unsubscribe.code, message: unsubscribe.reason });
    }
  }

  #refuse(channel, error) {
    this.#channels.delete(channel);
    this.#events.refused(channel, new Failure(error));
  }

  // A connection can die without a word; the browser may need minutes to see it.
  #watch() {
    clearTimeout(this.#watchdog);
    if (this.#patience) this.#watchdog = setTimeout(() => this.#comeBack(), this.#patience);
  }

  // The wait is of chance between nothing and a limit that doubles, so that all do not come at once.
  #comeBack() {
    this.#drop();
    const others = this.#urls.length - 1;
    if (others) this.#at = (this.#at + 1 + Math.floor(Math.random() * others)) % this.#urls.length;
    this.#connectIn(BACKOFF_MIN / 4 + Math.random() * Math.min(BACKOFF_MAX, BACKOFF_MIN * 2 ** this.#attempts++), 'waiting');
  }

  #connectIn(ms, state) {
    this.#timer = setTimeout(() => this.connect(), ms);
    this.#enter(state, Date.now() + ms);
  }

  #stop(failure) {
    this.#drop();
    this.#enter('stopped', failure);
  }

  #drop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    const socket = this.#socket;
    if (!socket) return;
    this.#socket = socket.onopen = socket.onmessage = socket.onclose = null;
    this.#state = 'dropped';
    socket.close();
    const calls = [...this.#calls.values()];
    this.#calls.clear();
    for (const done of calls) done({ error: new Failure() });
  }

  #enter(state, detail) {
    this.#state = state;
    this.#events.state(state, detail);
  }
}
