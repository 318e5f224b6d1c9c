// A program that is replaced by new versions of itself while it runs: examples/echo.
import {once} from 'node:events';
import {copyFileSync, existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {launch, within} from './process.mjs';
import {build} from './server.mjs';

// Gives a function that returns a match of the pattern behind the last one, so that each
// log line is found once.
function reader(p) {
  let from = 0;
  return async (pattern) => {
    const next = () => {
      const m = p.err.slice(from).match(pattern);
      if (m) from += m.index + m[0].length;
      return m;
    };
    const search = async () => {
      for (;;) {
        const m = next();
        if (m) return m;
        const ended = await Promise.race([once(p.child, 'output').then(() => false), p.exited.then(() => true)]);
        if (ended && !p.err.slice(from).match(pattern)) throw new Error(`all versions ended without ${pattern}:\n${p.err.slice(from)}`);
      }
    };
    return within(30_000, () => `${pattern} in:\n${p.err.slice(from)}`, search());
  };
}

export class Versions {
  // Starts the first version in the test t, by a command that is given the program's path.
  static async start(t, flags, command = (program) => [program]) {
    const v = new Versions();
    v.dir = mkdtempSync(join(tmpdir(), 'sockmill-versions-'));
    v.program = join(v.dir, 'echo');
    v.good = await build('echo');
    v.install();
    const [path, ...args] = command(v.program);
    v.process = launch(path, [...args, '-pid-file', join(v.dir, 'pid'), ...flags(v.dir)]);
    v.logged = reader(v.process);
    t.after(async () => {
      if (v.running()) process.kill(v.pid(), 'SIGTERM');
      try {
        await within(20_000, () => `the end of all versions:\n${v.process.err}`, v.process.exited);
      } finally {
        v.kill();
        rmSync(v.dir, {recursive: true, force: true});
      }
    });
    return v;
  }

  // Puts the program, or a script in its place, where the next version is started from.
  install(script) {
    const next = `${this.program}.next`;
    if (script) writeFileSync(next, `#!/bin/sh\n${script}\n`, {mode: 0o755});
    else copyFileSync(this.good, next);
    renameSync(next, this.program);
  }

  // The process that serves.
  pid() { return Number(readFileSync(join(this.dir, 'pid'), 'utf8')); }

  // Whether the PID file names a process.
  running() { return existsSync(join(this.dir, 'pid')) && alive(this.pid()); }

  hangUp(pid = this.pid()) { process.kill(pid, 'SIGHUP'); }

  // Replaces the process that serves, and waits for its end.
  async replace() {
    this.hangUp();
    const [said] = await this.logged(/a new version has taken over|did not take over.*|no new version.*/);
    if (!said.startsWith('a new')) throw new Error(said);
    await this.logged(/the old version has ended/);
  }

  // Kills what is left after a failure.
  kill() {
    this.process.child.kill('SIGKILL');
    if (this.running()) process.kill(this.pid(), 'SIGKILL');
  }
}

// Whether a process runs. One that has ended and that nobody has asked about does not.
function alive(pid) {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
  } catch {
    return false;
  }
}
