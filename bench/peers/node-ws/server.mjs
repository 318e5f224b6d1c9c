// The peer ws on Node.js: github.com/websockets/ws, with bufferutil, the native
// module that its README recommends for speed; Node validates UTF-8 natively.
//
// ws encodes a broadcast anew for each connection: it has nothing that does it once.
//
// Compression: Node's zlib at level 3, 12 bits, context takeover if the client
// offers it; a stream of zlib for each direction of each connection.
import {WebSocketServer} from 'ws'
import {deflateThresholdBytes, messageBytesMax, options} from '../options.mjs'

const o = options('node-ws', import.meta.url, ['ws', 'bufferutil'], `node ${process.versions.node}`)
const server = new WebSocketServer({
  host: o.hostname,
  port: o.port,
  backlog: 4096, // as many as the kernel allows, as in Go; Node's own is 511
  clientTracking: o.mode === 'broadcast',
  maxPayload: messageBytesMax,
  perMessageDeflate: o.deflate && {
    serverMaxWindowBits: 12,
    clientMaxWindowBits: 12,
    threshold: deflateThresholdBytes,
    zlibDeflateOptions: {level: 3},
  },
})

const topics = new Map()

function echo(message, binary) { this.send(message, {binary}) }

function broadcast(message, binary) {
  for (const c of server.clients) c.send(message, {binary})
}

function topic(message, binary) {
  const text = message.toString()
  const end = text.indexOf(' ', 2)
  if (text.startsWith('s ')) {
    const name = text.slice(2)
    if (!topics.has(name)) topics.set(name, new Set())
    topics.get(name).add(this)
    this.on('close', () => topics.get(name).delete(this))
  } else if (text.startsWith('p ') && end > 0) {
    const payload = message.subarray(2 + Buffer.byteLength(text.slice(2, end)) + 1)
    for (const c of topics.get(text.slice(2, end)) ?? []) c.send(payload, {binary})
  }
}

const onMessage = {echo, broadcast, topics: topic}[o.mode]
server.on('connection', c => {
  c.on('error', () => {}) // ws closes it
  c.on('message', onMessage)
})
server.on('listening', () => console.log(`${o.mode} on ${o.hostname}:${server.address().port}`))
