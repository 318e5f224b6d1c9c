// A TCP proxy that cuts one connection after the other, each after so many bytes.
import {EventEmitter, once} from 'node:events';
import {connect, createServer} from 'node:net';
import {within} from './process.mjs';

export class Cutter {
  up = 0; // bytes that passed from the client of the last connection
  cuts = 0;
  #plan = [];
  #arm = () => {}; // tells the last connection when it is to be cut
  #events = new EventEmitter();

  // Listens on a port of its own until the test t ends.
  static async before(t, target) {
    const cutter = new Cutter();
    const sockets = new Set();
    const server = createServer((client) => {
      const upstream = connect(target, '127.0.0.1');
      for (const socket of [client, upstream]) sockets.add(socket);
      cutter.#join(client, upstream);
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    cutter.port = server.address().port;
    t.after(() => {
      server.close();
      for (const socket of sockets) socket.destroy();
    });
    return cutter;
  }

  // Each of the plan, {up: bytes} or {down: bytes}, cuts a connection after so many
  // bytes in that direction; 0 is before the first. The first cuts the present
  // connection, counted from now, the others those to come. What a connection does
  // not live to, the next one gets.
  follow(plan) {
    this.#plan = [...plan];
    this.#arm();
  }

  // Waits until so many connections are cut.
  cut(n) {
    const enough = async () => {
      while (this.cuts < n) await once(this.#events, 'cut');
    };
    return within(20_000, () => `cut ${n} after ${this.cuts}`, enough());
  }

  #join(client, upstream) {
    let left; // bytes until the cut, by direction
    this.up = 0;
    this.#arm = () => { left = {...this.#plan[0]}; };
    this.#arm();
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    const pass = (from, to, way) => {
      from.on('data', (piece) => {
        if (way === 'up') this.up += piece.length;
        if (left[way] === undefined) return to.write(piece);
        const last = piece.subarray(0, left[way]);
        left[way] -= piece.length;
        if (left[way] > 0) return to.write(piece);
        this.#plan.shift();
        for (const socket of [client, upstream]) socket.removeAllListeners('data').pause();
        to.write(last, () => {
          end();
          this.cuts++;
          this.#events.emit('cut');
        });
      });
      from.on('error', () => {});
      from.on('close', end);
    };
    pass(client, upstream, 'up');
    pass(upstream, client, 'down');
  }
}
