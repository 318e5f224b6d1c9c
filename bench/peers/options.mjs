// What the peers in JavaScript have in common: the command line of the peers in Go.
import {readFileSync} from 'node:fs'
import {parseArgs} from 'node:util'

export const messageBytesMax = 16 << 20
export const deflateThresholdBytes = 256

// options reads the command line. For -version it prints the versions of the
// modules, from their package.json beside the caller, and ends the program.
export function options(name, dir, modules, extra) {
  const {values} = parseArgs({
    args: process.argv.slice(2).map(a => a.replace(/^-(?=\w\w)/, '--')), // -mode, as Go has it
    options: {
      listen: {type: 'string', default: '127.0.0.1:0'},
      mode: {type: 'string', default: 'echo'},
      deflate: {type: 'boolean', default: false},
      'no-takeover': {type: 'boolean', default: false}, // what the client offers decides
      cert: {type: 'string'}, // PEM files, for TLS
      key: {type: 'string'},
      version: {type: 'boolean', default: false},
    },
  })
  if (values.version) {
    const version = m => JSON.parse(readFileSync(new URL(`node_modules/${m}/package.json`, dir))).version
    console.log(name, ...modules.map(m => `${m} ${version(m)}`), extra)
    process.exit(0)
  }
  if (!['echo', 'broadcast', 'topics'].includes(values.mode)) {
    console.error(`-mode is "${values.mode}": it must be echo, broadcast or topics`)
    process.exit(1)
  }
  const at = values.listen.lastIndexOf(':')
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(0))
  return {...values, hostname: values.listen.slice(0, at), port: Number(values.listen.slice(at + 1))}
}
