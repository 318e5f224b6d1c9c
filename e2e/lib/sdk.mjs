// Clients of npm centrifuge, in JSON and in Protobuf, and what they say, awaited
// one by one.
import assert from 'node:assert/strict';
import {EventEmitter, once} from 'node:events';
import {Centrifuge as JSONCentrifuge} from 'centrifuge';
import {Centrifuge as ProtobufCentrifuge} from 'centrifuge/build/protobuf';
import WebSocket from 'ws';
import {token} from './hub.mjs';
import {within} from './process.mjs';

const text = (bytes) => Buffer.from(bytes).toString();

// What differs between the formats: data is any JSON value in the one, bytes in
// the other.
export const formats = {
  json: {Centrifuge: JSONCentrifuge, pack: (value) => value, unpack: (data) => data},
  protobuf: {
    Centrifuge: ProtobufCentrifuge,
    pack: (value) => Buffer.from(JSON.stringify(value)),
    unpack: (data) => (data?.length ? JSON.parse(text(data)) : undefined),
  },
};

// What an emitter says, in order, taken one by one.
export class Events {
  #untaken = [];
  #said = new EventEmitter();

  constructor(emitter, name) {
    this.name = name;
    for (const event of ['connecting', 'connected', 'disconnected', 'subscribing', 'subscribed', 'unsubscribed',
      'publication', 'join', 'leave', 'message', 'error']) {
      emitter.on(event, (said) => {
        this.#untaken.push({event, ...said});
        this.#said.emit('more');
      });
    }
  }

  // Takes the first event of this kind that passes; it may be still to come.
  next(event, passes = () => true, ms = 10_000) {
    const take = async () => {
      for (;;) {
        const at = this.#untaken.findIndex((e) => e.event === event && passes(e));
        if (at >= 0) return this.#untaken.splice(at, 1)[0];
        await once(this.#said, 'more');
      }
    };
    return within(ms, () => `${event} of ${this.name}, which said: ${JSON.stringify(this.#untaken.slice(-10))}`, take());
  }

  // All of this kind that were said and not taken.
  all(event) {
    return this.#untaken.filter((e) => e.event === event);
  }

  // Fails if something of this kind was said and not taken.
  no(event) {
    assert.deepEqual(this.all(event), [], `${event} of ${this.name}`);
  }
}

// A client that ends with the test t. options are those of Centrifuge; its
// events are in .events.
export function client(t, url, format, options = {}) {
  const {Centrifuge} = formats[format];
  const centrifuge = new Centrifuge(url, {
    websocket: WebSocket, minReconnectDelay: 10, maxReconnectDelay: 200, timeout: 10_000, ...options,
  });
  centrifuge.format = formats[format];
  centrifuge.events = new Events(centrifuge, `the ${format} client`);
  t.after(() => centrifuge.disconnect());
  return centrifuge;
}

// The same, connected.
export async function connected(t, url, format, options) {
  const centrifuge = client(t, url, format, options);
  centrifuge.connect();
  centrifuge.id = (await centrifuge.events.next('connected')).client;
  return centrifuge;
}

// The same for each of the users.
export function people(t, server, format, ...users) {
  return Promise.all(users.map((sub) => (
    connected(t, server.url, format, {token: token({sub, info: {nick: sub.toUpperCase()}})}))));
}

// A subscription of a client; its events are in .events.
export function subscription(centrifuge, channel, options = {}) {
  const sub = centrifuge.newSubscription(channel, {minResubscribeDelay: 10, maxResubscribeDelay: 200, ...options});
  sub.events = new Events(sub, `the subscription to ${channel}`);
  return sub;
}

// The same, subscribed. What the server said about it is in .said.
export async function subscribed(centrifuge, channel, options) {
  const sub = subscription(centrifuge, channel, options);
  sub.subscribe();
  sub.said = await sub.events.next('subscribed');
  return sub;
}

// Whether a call fails with this code of the protocol.
export async function fails(code, call) {
  await assert.rejects(call, (error) => {
    assert.equal(error.code, code, JSON.stringify(error));
    return true;
  });
}
