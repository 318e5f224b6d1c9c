// A TCP proxy in front of a server, whose connections a test cuts.
import {once} from 'node:events';
import {connect, createServer} from 'node:net';

export class Proxy {
  #target;
  #edit;
  #sockets = new Set();
  #server;

  // Listens on a port of its own until the test t ends. edit may change what a
  // client sends first, its request.
  static async before(t, target, edit = (request) => request) {
    const proxy = new Proxy();
    proxy.#target = target;
    proxy.#edit = edit;
    await proxy.up();
    t.after(() => proxy.down());
    return proxy;
  }

  async up() {
    this.#server = createServer((client) => this.#join(client));
    this.#server.listen(this.port ?? 0, '127.0.0.1');
    await once(this.#server, 'listening');
    this.port = this.#server.address().port;
  }

  // Cuts every connection and refuses new ones until up.
  down() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }

  // From now on nothing that the server sends on the present connections arrives.
  silence() {
    for (const socket of this.#sockets) if (socket.upstream) socket.unpipe().resume();
  }

  // From now on nothing that the clients send on the present connections arrives.
  deafen() {
    for (const socket of this.#sockets) if (!socket.upstream) socket.unpipe().resume();
  }

  #join(client) {
    const upstream = connect(this.#target, '127.0.0.1');
    upstream.upstream = true;
    client.once('data', (request) => {
      upstream.write(this.#edit(request.toString('latin1')), 'latin1');
      client.pipe(upstream);
    });
    upstream.pipe(client);
    for (const [from, to] of [[client, upstream], [upstream, client]]) {
      this.#sockets.add(from);
      from.on('error', () => {});
      from.on('close', () => { this.#sockets.delete(from); to.destroy(); });
    }
  }
}
