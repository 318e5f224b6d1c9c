// Where the own cells are by now: the last snapshot, and since then our inputs by the server's
// own rule. Pure.

const KEEP = 2_000; // ms of inputs: more than any delay worth predicting over
const SETTLE = 110; // ms in which all but a third of a wrong guess is taken back
const JUMP = 500; // units; a longer way is a new place, not a wrong guess

export const massOf = (r) => (r / 4) ** 2;
export const radiusOf = (mass) => 4 * Math.sqrt(mass);
/** Units a second at full throttle. */
export const speed = (mass) => 600 * Math.max(mass, 10) ** -0.25;

const INPUT_EVERY = 33; // ms; the server takes twice as many
const INPUT_REST = 100; // ms, while nothing changes

/** Says when an input is due: soon if something changed, and now and then in any case. */
export class Pace {
  #at = -Infinity; #dx = 0; #dy = 0;

  /** pressed: whether a button waits to be sent. */
  due({ dx, dy }, pressed, now) {
    const since = now - this.#at;
    const same = !pressed && Math.hypot(dx - this.#dx, dy - this.#dy) < 0.01;
    if (since < (same ? INPUT_REST : INPUT_EVERY)) return false;
    [this.#at, this.#dx, this.#dy] = [now, dx, dy];
    return true;
  }
}

export class Prediction {
  #inputs = []; // {seq, at, dx, dy}: in force from at until the next one
  #lag; // ms from sending an input to the time that the snapshot which shows it is due
  #ack = -1;
  #cells = new Map(); // id → {x, y, r, at, since, ex, ey}
  error = 0; // units by which what was shown is wrong, on average of late

  /** period: ms of a tick; size: of the world. */
  constructor(period, size) {
    this.period = period;
    this.size = size;
    this.#lag = period;
  }

  /** Notes what was sent at now. Vectors are at most 1 long. */
  sent({ seq, dx, dy }, now) {
    this.#inputs.push({ seq, at: now, dx, dy });
    while (this.#inputs.length > 1 && this.#inputs[1].at < now - KEEP) this.#inputs.shift();
  }

  /**
   * Takes over the server's word. cells: own ones as {id, x, y, r}; due: when that was so, in our
   * time; now: what is shown at present moves on from where it is.
   */
  reconcile(cells, ack, due, now) {
    const before = new Map([...this.#cells.keys()].map((id) => [id, this.at(id, now)]));
    this.#measure(ack, due);
    this.#cells = new Map(cells.map(({ id, x, y, r }) => [id, { x, y, r, at: due, since: now, ex: 0, ey: 0 }]));
    for (const [id, cell] of this.#cells) {
      const [was, is] = [before.get(id), this.at(id, now)];
      if (!was || Math.hypot(was.x - is.x, was.y - is.y) > JUMP) continue;
      cell.ex = was.x - is.x;
      cell.ey = was.y - is.y;
      this.error += (Math.hypot(cell.ex, cell.ey) - this.error) * 0.05;
    }
  }

  // The first snapshot with an input tells how long that took. An input that comes within a
  // tick moves the cell as if it had been there for all of it.
  #measure(ack, due) {
    if (ack === this.#ack) return;
    this.#ack = ack;
    const input = this.#inputs.findLast(({ seq }) => seq === ack);
    if (!input) return;
    const took = due - this.period - input.at;
    this.#lag += (Math.min(Math.max(took, -this.period), 1_000) - this.#lag) * 0.1;
  }

  /** Where an own cell is at now: {x, y, r}, or undefined. */
  at(id, now) {
    const cell = this.#cells.get(id);
    if (!cell) return undefined;
    const way = this.#way(cell.at - this.#lag, now);
    const v = speed(massOf(cell.r));
    const left = Math.exp((cell.since - now) / SETTLE);
    const clamp = (c) => Math.max(Math.min(c, this.size - cell.r), cell.r); // as walls do
    return {
      x: clamp(cell.x + way.x * v) + cell.ex * left,
      y: clamp(cell.y + way.y * v) + cell.ey * left,
      r: cell.r,
    };
  }

  /** The integral of the inputs over time, in seconds at full throttle. */
  #way(from, to) {
    if (from > to) {
      const back = this.#way(to, from);
      return { x: -back.x, y: -back.y };
    }
    let [x, y] = [0, 0];
    this.#inputs.forEach(({ at, dx, dy }, i) => {
      const until = Math.min(this.#inputs[i + 1]?.at ?? to, to);
      const seconds = Math.max(0, until - Math.max(at, from)) / 1000;
      x += dx * seconds;
      y += dy * seconds;
    });
    return { x, y };
  }
}
