import {randomInt} from 'node:crypto';
import {once} from 'node:events';
import {createServer} from 'node:net';

const given = new Set(); // what runs at the same time may not have taken its port yet

// A port that nobody has, below those that connections take by themselves.
export async function freePort() {
  for (;;) {
    const port = randomInt(20_000, 30_000);
    if (given.has(port)) continue;
    given.add(port);
    const server = createServer().listen(port, '127.0.0.1');
    const [taken] = await Promise.race([once(server, 'listening'), once(server, 'error')]).catch((e) => [e]);
    if (taken) continue;
    server.close();
    await once(server, 'close');
    return port;
  }
}
