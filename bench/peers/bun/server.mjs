// The peer Bun: Bun.serve, whose WebSocket server is uWebSockets. Messages reach
// JavaScript: text as a string, binary as a Buffer.
//
// Broadcasts and topics are its own publish/subscribe, which joins the messages to
// a connection.
//
// Compression: its level is fixed. Of what it offers, a compressor of 4 KB for each
// connection comes closest to 12 bits.
import {deflateThresholdBytes, messageBytesMax, options} from '../options.mjs'

const o = options('bun', import.meta.url, ['bun'], '')
const size = m => typeof m === 'string' ? m.length : m.byteLength
const compress = m => o.deflate && size(m) >= deflateThresholdBytes

const topic = 't ' // names of topics follow; "all" is everybody
const handlers = {
  echo: {
    message(c, m) { c.send(m, compress(m)) },
  },
  broadcast: {
    open(c) { c.subscribe('all') },
    message(c, m) { server.publish('all', m, compress(m)) },
  },
  topics: {
    message(c, m) {
      if (typeof m !== 'string') return
      const end = m.indexOf(' ', 2)
      if (m.startsWith('s ')) c.subscribe(topic + m.slice(2))
      else if (m.startsWith('p ') && end > 0) {
        const payload = m.slice(end + 1)
        server.publish(topic + m.slice(2, end), payload, compress(payload))
      }
    },
  },
}

const server = Bun.serve({
  hostname: o.hostname,
  port: o.port,
  tls: o.cert && {cert: Bun.file(o.cert), key: Bun.file(o.key)},
  fetch(request, server) {
    if (!server.upgrade(request)) return new Response('WebSocket, please', {status: 426})
  },
  websocket: {
    ...handlers[o.mode],
    maxPayloadLength: messageBytesMax,
    backpressureLimit: messageBytesMax,
    idleTimeout: 0,
    sendPings: false,
    perMessageDeflate: o.deflate && {compress: '32KB', decompress: '4KB'},
  },
})
console.log(`${o.mode} on ${o.hostname}:${server.port}`)
