// A WebSocket client (npm's ws) whose events are awaited one by one.
import WebSocket from 'ws';
import {within} from './process.mjs';

export class Peer {
  #events = [];
  #waiting = null;

  // Resolves when the connection is open.
  static async open(url, options = {}) {
    const peer = new Peer(url, options);
    const first = await peer.next();
    if (first.type !== 'open') throw new Error(`instead of open: ${JSON.stringify(first)}`);
    return peer;
  }

  constructor(url, options) {
    this.ws = new WebSocket(url, {handshakeTimeout: 5000, ...options});
    this.ws.on('open', () => this.#push({type: 'open'}));
    this.ws.on('message', (data, binary) => this.#push({type: binary ? 'binary' : 'text', data: binary ? data : data.toString()}));
    this.ws.on('pong', (data) => this.#push({type: 'pong', data: data.toString()}));
    this.ws.on('close', (code, reason) => this.#push({type: 'close', code, reason: reason.toString()}));
    this.ws.on('error', (error) => this.#push({type: 'error', message: error.message}));
  }

  #push(event) {
    this.#events.push(event);
    this.#waiting?.();
  }

  // The next event that was not taken yet.
  next(ms = 10_000) {
    const take = async () => {
      while (this.#events.length === 0) await new Promise((resolve) => { this.#waiting = resolve; });
      return this.#events.shift();
    };
    return within(ms, 'an event of the WebSocket', take());
  }

  // Closes and returns what the server answers.
  async close(code, reason) {
    this.ws.close(code, reason);
    return this.next();
  }
}
