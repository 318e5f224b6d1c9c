// Child processes: found or named by package, watched by their output, never
// left behind.
import {spawn, spawnSync} from 'node:child_process';
import {once} from 'node:events';

const running = new Set();
const killAll = () => running.forEach((child) => child.kill('SIGKILL'));
process.on('exit', killAll);
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));

// The promise, or a failure that says what was awaited for ms.
export function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`after ${ms} ms still waiting for ${describe(what)}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const describe = (what) => (typeof what === 'function' ? what() : what);

// The path of a program, or a failure that names the package it comes in.
export function tool(name, debianPackage) {
  const found = spawnSync('sh', ['-c', 'command -v "$1"', 'sh', name], {encoding: 'utf8'});
  if (found.status !== 0) throw new Error(`${name} is missing: apt-get install ${debianPackage} (or make e2e-deps)`);
  return found.stdout.trim();
}

// Starts a program. Its output collects in .out and .err.
export function launch(command, args, options = {}) {
  const child = spawn(command, args, {stdio: ['ignore', 'pipe', 'pipe'], ...options});
  running.add(child);
  const p = {child, out: '', err: ''};
  child.stdout.setEncoding('utf8').on('data', (s) => { p.out += s; child.emit('output'); });
  child.stderr.setEncoding('utf8').on('data', (s) => { p.err += s; child.emit('output'); });
  p.exited = new Promise((resolve, reject) => {
    child.on('error', (e) => { running.delete(child); reject(e); });
    child.on('close', (code, signal) => { running.delete(child); resolve({code, signal}); });
  });
  p.exited.catch(() => {}); // who awaits it sees the error
  p.said = (pattern, ms = 10_000) => said(p, pattern, ms);
  return p;
}

// The match of pattern in what the process has printed so far or will print.
function said(p, pattern, ms) {
  const all = () => `${p.out}\n${p.err}`;
  const last = () => all().slice(-2000);
  const match = async () => {
    for (;;) {
      const m = all().match(pattern);
      if (m) return m;
      const end = await Promise.race([once(p.child, 'output').then(() => null), p.exited]);
      if (end && !all().match(pattern)) throw new Error(`ended (${end.code ?? end.signal}) without ${pattern}:\n${last()}`);
    }
  };
  return within(ms, () => `${pattern} in:\n${last()}`, match());
}

// Ends what launch started, by signal, and waits for it.
export async function end(p, signal = 'SIGKILL', ms = 10_000) {
  if (p.child.exitCode === null && p.child.signalCode === null) p.child.kill(signal);
  try {
    return await within(ms, () => `the end of ${p.child.spawnfile} after ${signal}:\n${p.err}`, p.exited);
  } finally {
    p.child.kill('SIGKILL');
  }
}

// Runs a program to its end and returns {code, signal, out, err}.
export async function run(command, args, {timeout = 30_000, ...options} = {}) {
  const p = launch(command, args, options);
  try {
    const {code, signal} = await within(timeout, () => `${command} to end:\n${p.out}\n${p.err}`, p.exited);
    return {code, signal, out: p.out, err: p.err};
  } finally {
    p.child.kill('SIGKILL');
  }
}
