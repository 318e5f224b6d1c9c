// What the snapshots add up to: every visible entity, and where it was when. Pure.
import { CELL, FOOD, KEYFRAME, POSITIONS, RADII, WireError } from './wire.js';

const HISTORY = 16; // places kept per entity; the playout is a few snapshots behind
const PLAYOUT = 100; // ms, what a steady line of 30 snapshots a second needs
const PLAYOUT_MAX = 300;

/**
 * Tells when to show what was stamped by the server: so far behind the fastest snapshot that
 * even a late one is usually in time.
 */
export class Playout {
  #offset = Infinity; // from the server's clock to ours, by the fastest way here
  #jitter = 0;
  delay = PLAYOUT;

  constructor(period) { this.period = period; }

  /** due: the server's stamp; now: when it arrived. */
  sample(due, now) {
    const late = now - due - this.#offset;
    if (!(late > 0)) this.#offset = now - due;
    else this.#offset += Math.min(late * 0.002, 1); // follows a clock that drifts, or a longer way
    this.#jitter = Math.max((late > 0 ? late : 0), this.#jitter * 0.98);
    const want = Math.min(Math.max(PLAYOUT, 2 * this.period + this.#jitter), PLAYOUT_MAX);
    this.delay += (want - this.delay) * (want > this.delay ? 0.2 : 0.01);
  }

  /** Our time at which the fastest line would bring what is due then. */
  local(due) { return due + this.#offset; }

  /** The server's time that is on show now. */
  at(now) { return now - this.#offset - this.delay; }
}

export class World {
  entities = new Map(); // id → {id, kind, owner, hue, name, bornAt, goneAt, past}: what is there now
  gone = []; // what is not any more, but was at the time on show
  tick = 0;
  due = 0;

  /** size: units on a side; me: our player. */
  constructor(size, me) {
    this.size = size;
    this.me = me;
  }

  isMine(e) { return e.kind === CELL && e.owner === this.me; }

  mine() { return [...this.entities.values()].filter((e) => this.isMine(e)); }

  /** A snapshot that does not fit the last one is a WireError; then only a keyframe helps. */
  apply({ flags, tick, due, base, removed, changed }) {
    if (flags & KEYFRAME) {
      const listed = new Set(changed.map(({ id }) => id));
      for (const id of this.entities.keys()) if (!listed.has(id)) this.#remove(id, due);
    } else if (base !== this.tick || !this.tick) {
      throw new WireError('base', `a change of tick ${base}, but here is ${this.tick}`);
    }
    for (const id of removed) this.#remove(id, due);
    for (const record of changed) this.#change(record, due);
    this.tick = tick;
    this.due = due;
  }

  #change(record, due) {
    let e = this.entities.get(record.id);
    if (e && isAnother(e, record, this.size)) {
      this.#remove(e.id, due);
      e = undefined;
    }
    if (!e) {
      if ([record.kind, record.x, record.radius].includes(undefined)) {
        throw new WireError('unknown entity', `entity ${record.id} appears with the fields ${record.mask} only`);
      }
      e = { id: record.id, name: '', bornAt: due, goneAt: Infinity, past: [] };
      this.entities.set(e.id, e);
    }
    for (const field of ['kind', 'owner', 'hue', 'name']) if (record[field] !== undefined) e[field] = record[field];
    this.#place(e, record, due);
  }

  #place(e, { x, y, radius }, due) {
    const last = e.past.at(-1);
    const now = {
      at: due,
      x: x === undefined ? last.x : units(x, this.size),
      y: y === undefined ? last.y : units(y, this.size),
      r: radius === undefined ? last.r : radius / RADII,
    };
    if (last && now.x === last.x && now.y === last.y && now.r === last.r) return;
    // What the snapshots in between did not mention had not moved until the latest of them.
    if (last && last.at < this.due) e.past.push({ ...last, at: this.due });
    e.past.push(now);
    if (e.past.length > HISTORY) e.past.splice(0, e.past.length - HISTORY);
  }

  #remove(id, due) {
    const e = this.entities.get(id);
    if (!e) throw new WireError('unknown entity', `entity ${id} is removed, but not known`);
    this.entities.delete(id);
    e.goneAt = due;
    this.gone.push(e);
  }

  /** Forgets what was gone before a time of the server. */
  sweep(at) {
    if (this.gone.some((e) => e.goneAt < at)) this.gone = this.gone.filter((e) => e.goneAt >= at);
  }
}

const units = (position, size) => position * size / POSITIONS;

// Numbers are used again: between two keyframes one may have come to mean something else. Where the
// food lies is rounded differently when the world has another size.
function isAnother(e, { kind, owner, x }, size) {
  if (kind === undefined) return false;
  return kind !== e.kind || owner !== e.owner || (kind === FOOD && Math.abs(units(x, size) - e.past.at(-1).x) > 2);
}

/** Where e was at a time of the server: {x, y, r}, between the two nearest places known. */
export function placeAt(e, at) {
  const { past } = e;
  let i = past.length - 1;
  while (i > 0 && past[i].at > at) i--;
  const [a, b] = [past[i], past[i + 1]];
  if (!b || at <= a.at) return a;
  const f = (at - a.at) / (b.at - a.at);
  return { x: a.x + (b.x - a.x) * f, y: a.y + (b.y - a.y) * f, r: a.r + (b.r - a.r) * f };
}
