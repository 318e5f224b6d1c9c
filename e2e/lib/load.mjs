// Clients that notice every failure: a connection that does not open, an answer that is
// missing, doubled or in the wrong order, an end that is no closing handshake.
import {createSocket} from 'node:dgram';
import {once} from 'node:events';
import {setTimeout as wait} from 'node:timers/promises';
import WebSocket from 'ws';
import {within} from './process.mjs';

const ahead = 3; // messages on their way
const pace = 20; // ms

export class Load {
  failures = [];
  connected = 0;
  answered = 0;
  drained = 0; // connections that the server closed
  #clients = [];
  #stopping = false;

  // n clients that connect, send numbered messages, and come back, until stop.
  run(n, url, options = {}) {
    for (let i = 0; i < n; i++) this.#clients.push(this.#client(`${url} ${i}`, url, options));
  }

  // The same over UDP, where nothing connects.
  packets(n, port) {
    for (let i = 0; i < n; i++) this.#clients.push(this.#sender(`udp ${i}`, port));
  }

  async stop() {
    this.#stopping = true;
    await within(60_000, 'the clients to end', Promise.all(this.#clients));
  }

  // Resolves when n more answers have come.
  async more(n) {
    const until = this.answered + n;
    const come = async () => { while (this.answered < until && this.failures.length === 0) await wait(pace); };
    await within(60_000, () => `${until} answers; there are ${this.answered}`, come());
  }

  async #client(name, url, options) {
    const state = {name, next: 0, left: 0}; // next is the first number without an answer
    while (!this.#stopping && this.failures.length === 0) {
      state.left = 1 + Math.floor(Math.random() * 30); // messages on this connection
      await this.#connection(state, url, options);
    }
  }

  #connection(state, url, options) {
    const ws = new WebSocket(url, {handshakeTimeout: 30_000, ...options});
    const fail = (what) => { this.failures.push(`${state.name}: ${what}`); ws.terminate(); };
    let sent = state.next; // on this connection, from the first without an answer on
    let opened = false;
    const send = () => {
      while (state.left > 0 && sent < state.next + ahead) { ws.send(`${state.name} ${sent++}`); state.left--; }
      if (sent === state.next) ws.close(1000);
    };
    ws.on('open', () => { opened = true; this.connected++; send(); });
    ws.on('message', (data) => {
      if (data.toString() !== `${state.name} ${state.next}`) return fail(`${data} instead of ${state.next}`);
      state.next++;
      this.answered++;
      if (this.#stopping) state.left = 0;
      setTimeout(() => { if (ws.readyState === WebSocket.OPEN) send(); }, pace);
    });
    ws.on('error', (e) => fail(`${opened ? '' : 'connecting: '}${e.message}`));
    return new Promise((resolve) => {
      ws.on('close', (code, reason) => {
        if (code === 1001 || code === 1012) this.drained++;
        else if (code !== 1000 && opened) fail(`closed with ${code} ${reason}`);
        resolve();
      });
    });
  }

  async #sender(name, port) {
    const socket = createSocket('udp4');
    socket.connect(port, '127.0.0.1');
    await once(socket, 'connect');
    let expected = 0;
    socket.on('message', (data) => {
      if (data.toString() !== `${name} ${expected}`) this.failures.push(`${name}: ${data} instead of ${expected}`);
    });
    socket.on('error', (e) => this.failures.push(`${name}: ${e.message}`));
    for (; !this.#stopping && this.failures.length === 0; expected++) {
      socket.send(`${name} ${expected}`);
      try {
        await within(20_000, 'a packet', once(socket, 'message'));
        this.answered++;
      } catch (e) {
        this.failures.push(`${name} ${expected}: ${e.message}`);
      }
      await wait(pace);
    }
    socket.close();
  }
}
