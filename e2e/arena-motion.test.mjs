// Where the arena's page shows things: others between snapshots, the own cell
// ahead of them.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {massOf, Pace, Prediction, radiusOf, speed} from '../examples/arena/web/predict.js';
import {CELL, FOOD, KEYFRAME, SNAPSHOT} from '../examples/arena/web/wire.js';
import {placeAt, Playout, World} from '../examples/arena/web/world.js';
import {seeded} from './lib/seeded.mjs';

const PERIOD = 100 / 3;
const SIZE = 65535; // so that positions are units
const near = (got, want, by, what) => assert.ok(Math.abs(got - want) <= by, `${what}: ${got}, not ${want} ± ${by}`);

const cell = (id, x, more = {}) => ({id, mask: 15, kind: CELL, owner: 1, hue: 0, x, y: 100, radius: 160, name: 'Ada', ...more});

// Snapshots of ticks; each follows the one before.
function feed(world) {
  let base = 0;
  return (tick, {changed = [], removed = [], flags = 0}) => {
    world.apply({kind: SNAPSHOT, flags, tick, due: tick * PERIOD, base: flags & KEYFRAME ? 0 : base, ack: 0, removed, changed});
    base = tick;
  };
}

test('between two snapshots, and no further', () => {
  const world = new World(SIZE, 1);
  const snapshot = feed(world);
  snapshot(1, {flags: KEYFRAME, changed: [cell(5, 100)]});
  snapshot(2, {changed: [{id: 5, mask: 2, x: 130, y: 100}]});
  const at = (ticks) => placeAt(world.entities.get(5), ticks * PERIOD).x;
  assert.equal(at(0), 100);
  near(at(1.5), 115, 1e-6, 'halfway');
  assert.equal(at(2), 130);
  assert.equal(at(9), 130);
});

test('who stood still and then moves did not creep all the time', () => {
  const world = new World(SIZE, 1);
  const snapshot = feed(world);
  snapshot(1, {flags: KEYFRAME, changed: [cell(5, 100)]});
  for (let tick = 2; tick < 10; tick++) snapshot(tick, {});
  snapshot(10, {changed: [{id: 5, mask: 2, x: 130, y: 100}]});
  const at = (ticks) => placeAt(world.entities.get(5), ticks * PERIOD).x;
  assert.equal(at(5), 100);
  assert.equal(at(9), 100);
  near(at(9.5), 115, 1e-6, 'in the last tick');
});

test('a keyframe keeps the motion, and its unlisted are gone', () => {
  const world = new World(SIZE, 1);
  const snapshot = feed(world);
  snapshot(1, {flags: KEYFRAME, changed: [cell(5, 100), cell(6, 500)]});
  snapshot(2, {flags: KEYFRAME, changed: [cell(5, 130)]});
  near(placeAt(world.entities.get(5), 1.5 * PERIOD).x, 115, 1e-6, 'across the keyframe');
  assert.deepEqual([...world.entities.keys()], [5]);
  assert.deepEqual(world.gone.map(({id, goneAt}) => [id, goneAt]), [[6, 2 * PERIOD]]);
  world.sweep(2 * PERIOD);
  assert.equal(world.gone.length, 1);
  world.sweep(2 * PERIOD + 1);
  assert.equal(world.gone.length, 0);
});

test('a number that is used again does not fly through the arena', () => {
  const world = new World(SIZE, 1);
  const snapshot = feed(world);
  const food = (x) => ({id: 5, mask: 7, kind: FOOD, owner: 0, hue: 0, x, y: 100, radius: 60});
  snapshot(1, {flags: KEYFRAME, changed: [food(100)]});
  snapshot(3, {flags: KEYFRAME, changed: [food(900)]});
  assert.equal(placeAt(world.entities.get(5), 2 * PERIOD).x, 900);
  assert.equal(world.gone[0].past[0].x, 100);
  snapshot(4, {removed: [5], changed: [cell(5, 300)]});
  assert.equal(placeAt(world.entities.get(5), 3.5 * PERIOD).x, 300);
});

test('food stays what it is when the world has another size', () => {
  const world = new World(3000, 1);
  const snapshot = feed(world);
  const food = () => ({id: 5, mask: 7, kind: FOOD, owner: 0, hue: 0, x: Math.round(1234.5 * 65535 / world.size), y: 100, radius: 60});
  snapshot(1, {flags: KEYFRAME, changed: [food()]});
  world.size = 2900;
  snapshot(2, {flags: KEYFRAME, changed: [food()]});
  assert.equal(world.gone.length, 0);
  assert.equal(world.entities.get(5).bornAt, PERIOD);
});

test('places are not kept for ever', () => {
  const world = new World(SIZE, 1);
  const snapshot = feed(world);
  snapshot(1, {flags: KEYFRAME, changed: [cell(5, 100)]});
  for (let tick = 2; tick < 500; tick++) snapshot(tick, {changed: [{id: 5, mask: 2, x: 100 + tick, y: 100}]});
  assert.ok(world.entities.get(5).past.length <= 16);
});

test('the playout is 100 ms behind a steady line, and further behind a restless one', () => {
  const steady = new Playout(PERIOD);
  for (let i = 0; i < 300; i++) steady.sample(1e6 + i * PERIOD, 40 + i * PERIOD);
  near(steady.at(40 + 300 * PERIOD), 1e6 + 300 * PERIOD - 100, 0.5, 'the time on show');

  const random = seeded(2);
  const restless = new Playout(PERIOD);
  let missed = 0;
  for (let i = 0; i < 1000; i++) {
    const late = random.next() ** 4 * 120;
    const now = 40 + i * PERIOD + late;
    if (i > 300 && restless.at(now) > i * PERIOD) missed++; // shown before it came
    restless.sample(i * PERIOD, now);
  }
  assert.ok(restless.delay > 140 && restless.delay <= 300, `${restless.delay} ms`);
  assert.ok(missed < 7, `${missed} of 700 came too late to be shown`);
});

test('the playout follows a way that became longer', () => {
  const playout = new Playout(PERIOD);
  const at = (i) => i * PERIOD;
  for (let i = 0; i < 100; i++) playout.sample(at(i), at(i) + 10);
  for (let i = 100; i < 1500; i++) playout.sample(at(i), at(i) + 60);
  near(playout.local(0), 60, 8, 'the offset');
});

test('inputs at a screen of 144 frames a second', () => {
  const sent = (vector, pressed = () => false) => {
    const pace = new Pace();
    let n = 0;
    for (let frame = 0; frame < 1440; frame++) n += pace.due(vector(frame), pressed(frame), frame * 1000 / 144);
    return n / 10;
  };
  const turning = sent((frame) => ({dx: Math.cos(frame), dy: Math.sin(frame)}));
  assert.ok(turning > 25 && turning <= 30.4, `${turning} a second while it turns`);
  const straight = sent(() => ({dx: 1, dy: 0}));
  assert.ok(straight > 8 && straight <= 10.1, `${straight} a second while it does not`);

  const pace = new Pace();
  assert.equal(pace.due({dx: 0, dy: 0}, false, 0), true);
  assert.equal(pace.due({dx: 0, dy: 0}, true, 20), false);
  assert.equal(pace.due({dx: 0, dy: 0}, false, 40), false);
  assert.equal(pace.due({dx: 0, dy: 0}, true, 40), true, 'a button does not wait for the rest');
});

test('the rule of the server', () => {
  near(speed(16), 300, 1e-9, 'mass 16');
  near(speed(1), 600 * 10 ** -0.25, 1e-9, 'nobody is faster than the newborn');
  near(massOf(radiusOf(123)), 123, 1e-9, 'there and back');
});

// A server that applies inputs as ticks come, a line that takes its time, and a
// player who turns about: now() is where the own cell is shown.
function play({up, down, jitter = 0, prediction = new Prediction(PERIOD, SIZE), seconds = 8, seed = 3, each}) {
  const random = seeded(seed);
  const mass = 16;
  const truth = []; // of the server, by tick
  const sent = [];
  const snapshots = []; // on their way
  let [x, y, ack, seq] = [30000, 30000, 0, 0];
  let [dx, dy, turnAt] = [1, 0, 0];
  for (let ms = 0; ms < seconds * 1000; ms++) {
    if (ms >= turnAt) {
      const angle = random.next() * 2 * Math.PI;
      [dx, dy, turnAt] = [Math.cos(angle), Math.sin(angle), ms + 150 + random.below(500)];
    }
    if (ms % 33 === 0) {
      const input = {seq: ++seq, dx, dy};
      sent.push({...input, arrives: ms + up + jitter * random.next()});
      prediction.sent(input, ms);
    }
    if (ms >= (truth.length + 1) * PERIOD) {
      const input = sent.findLast(({arrives}) => arrives <= ms);
      if (input) {
        ack = input.seq;
        x += input.dx * speed(mass) * PERIOD / 1000;
        y += input.dy * speed(mass) * PERIOD / 1000;
      }
      truth.push({x, y, due: (truth.length + 1) * PERIOD});
      snapshots.push({x, y, ack, due: truth.at(-1).due, arrives: ms + down + jitter * random.next()});
    }
    while (snapshots[0]?.arrives <= ms) {
      const s = snapshots.shift();
      prediction.reconcile([{id: 1, x: s.x, y: s.y, r: radiusOf(mass)}], s.ack, s.due + down, ms);
    }
    const shown = prediction.at(1, ms);
    if (shown) each({ms, shown, dx, dy, latest: truth.at(-1)});
  }
  return {truth, prediction};
}

for (const {up, down} of [{up: 1, down: 1}, {up: 25, down: 40}, {up: 100, down: 100}]) {
  test(`the own cell is ahead by what ${up + down} ms of way cost`, () => {
    const shown = [];
    const {truth} = play({up, down, each: ({ms, shown: {x, y}}) => shown.push({ms, x, y})});
    // What is shown at ms is where the server will have the cell when an input sent then begins to tell:
    // half a tick before its arrival, for a tick moves the cell by all of itself.
    const error = (lead) => {
      const errors = shown.filter(({ms}) => ms > 3000 && ms < 7500).map(({ms, x, y}) => {
        const i = Math.floor((ms + lead) / PERIOD) - 1;
        const [a, b] = [truth[i], truth[i + 1]];
        const f = (ms + lead - a.due) / PERIOD;
        return Math.hypot(x - a.x - (b.x - a.x) * f, y - a.y - (b.y - a.y) * f);
      });
      return errors.reduce((sum, e) => sum + e, 0) / errors.length;
    };
    const ahead = error(up - PERIOD / 2);
    assert.ok(ahead < 4, `off by ${ahead} units on average, of ${speed(16) * PERIOD / 1000} a tick`);
    assert.ok(up + down < 10 || error(-down) > 2 * ahead, 'as good without prediction');
  });
}

test('a turn shows at once', () => {
  let previous, turnedAt;
  const lags = [];
  play({up: 80, down: 80, each: ({ms, shown, dx, dy}) => {
    if (previous && (previous.dx !== dx || previous.dy !== dy)) turnedAt = ms;
    if (previous && turnedAt && ms > 3000) {
      const moved = {x: shown.x - previous.x, y: shown.y - previous.y};
      const along = (moved.x * dx + moved.y * dy) / (Math.hypot(moved.x, moved.y) || 1);
      if (along > 0.9) {
        lags.push(ms - turnedAt);
        turnedAt = undefined;
      }
    }
    previous = {x: shown.x, y: shown.y, dx, dy};
  }});
  assert.ok(lags.length > 5);
  const mean = lags.reduce((a, b) => a + b) / lags.length;
  assert.ok(mean < 60, `${mean} ms until the cell goes where it is steered`);
});

test('nothing jerks, though snapshots come when they like', () => {
  let previous, worst = 0;
  play({up: 40, down: 40, jitter: 25, each: ({shown}) => {
    if (previous) worst = Math.max(worst, Math.hypot(shown.x - previous.x, shown.y - previous.y));
    previous = shown;
  }});
  const perMs = speed(16) / 1000;
  assert.ok(worst < 6 * perMs, `${worst} units in a ms, of ${perMs}`);
});

test('a server that says otherwise is right in the end', () => {
  const prediction = new Prediction(PERIOD, SIZE);
  const r = radiusOf(16);
  prediction.reconcile([{id: 1, x: 1000, y: 1000, r}], 0, 0, 0);
  assert.equal(prediction.at(1, 0).x, 1000);
  prediction.reconcile([{id: 1, x: 1100, y: 1000, r}], 0, 33, 33); // pushed
  near(prediction.at(1, 33).x, 1000, 1e-6, 'first where it was');
  near(prediction.at(1, 1000).x, 1100, 0.1, 'then where it is');
  prediction.reconcile([{id: 1, x: 9000, y: 1000, r}], 0, 1066, 1066); // a new life
  assert.equal(prediction.at(1, 1066).x, 9000);
  prediction.reconcile([], 0, 1100, 1100);
  assert.equal(prediction.at(1, 1100), undefined);
});

test('walls hold', () => {
  const prediction = new Prediction(PERIOD, 1000);
  const r = radiusOf(16);
  prediction.sent({seq: 1, dx: 1, dy: -1}, 0);
  prediction.reconcile([{id: 1, x: 980, y: 20, r}], 1, 10, 10);
  assert.deepEqual({x: 1000 - r, y: r}, (({x, y}) => ({x, y}))(prediction.at(1, 1500)));
});
