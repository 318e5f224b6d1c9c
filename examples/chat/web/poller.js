// The other side of the comparison: the same room by asking again and again.
import { now, utf8Bytes } from './meter.js';

const INTERVAL = 1_000;
const HEAD_FIELD = 'x-request-head-bytes';

/** Bytes of a response's head as HTTP/1.1 writes it, without our own measuring field. */
function responseHeadBytes(response) {
  let bytes = `HTTP/1.1 ${response.status} ${response.statusText}\r\n\r\n`.length;
  for (const [name, value] of response.headers) {
    if (name !== HEAD_FIELD) bytes += `${name}: ${value}\r\n`.length;
  }
  return bytes;
}

/** events: message(message), lost(), state(name, text). */
export class Poller {
  #events; #meter; #clock; #timer;
  #room = '';
  #epoch = '';
  #since = 0;

  constructor(events, meter, clock) {
    this.#events = events;
    this.#meter = meter;
    this.#clock = clock;
  }

  start(room) {
    this.#room = room;
    clearTimeout(this.#timer);
    this.#tick();
  }

  async #tick() {
    const startedAt = now();
    try {
      const query = new URLSearchParams({ room: this.#room });
      if (this.#epoch) {
        query.set('epoch', this.#epoch);
        query.set('since', this.#since);
      }
      const [status, news] = await this.#request(`/api/poll?${query}`);
      if (status === 200) this.#take(news);
      if (status < 300) this.#events.state('polling', 'every second');
      else this.#events.state('unreachable', news.reason);
    } catch {
      this.#events.state('unreachable', 'no answer');
    }
    this.#timer = setTimeout(() => this.#tick(), Math.max(0, startedAt + INTERVAL - now()));
  }

  /** Resolves to the refusal's reason, or to nothing. */
  async say(message) {
    const [status, answer] = await this.#request('/api/send', {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify({ room: this.#room, ...message }),
    });
    return status < 300 ? undefined : answer.reason;
  }

  async #request(url, options) {
    const response = await fetch(url, options);
    const body = await response.text();
    this.#meter.requests++;
    this.#meter.add(
      Number(response.headers.get(HEAD_FIELD)) + responseHeadBytes(response),
      utf8Bytes(options?.body ?? '') + utf8Bytes(body),
    );
    return [response.status, body ? JSON.parse(body) : null];
  }

  #take(news) {
    const fresh = this.#epoch === news.epoch && !news.lost;
    if (news.lost) this.#events.lost();
    this.#epoch = news.epoch;
    this.#since = news.next;
    for (const message of news.messages) {
      this.#events.message(message);
      if (fresh) this.#meter.arrived(this.#clock.since(message.at));
    }
  }
}
