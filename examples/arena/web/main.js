// Puts the parts together: connection, world, prediction, input, view.
import { Hud } from './hud.js';
import { Input } from './input.js';
import { Connection, stored } from './net.js';
import { massOf, Pace, Prediction, radiusOf } from './predict.js';
import { decoration, sceneOf } from './scene.js';
import { View } from './view.js';
import { BOARD, DEAD, DIED, EJECT, FOOD, INPUT, nameError, RESIZED, RESPAWN, RESUMED, SNAPSHOT, SPLIT, WELCOME } from './wire.js';
import { Playout, World } from './world.js';

const SPAN = 760; // units across the longer side of the window for the newborn; the server shows 1400

const $ = (id) => document.getElementById(id);
const hud = new Hud();
const view = new View($('arena'));
const input = new Input($('arena'), {
  playing: () => hud.playing,
  touched: () => { document.body.dataset.touch = 'true'; },
});

let game = null; // {me, period, world, prediction, playout, dead, board} from the first welcome on
let frozen = null; // since when the connection is away
let seq = 0;
const pace = new Pace();
let own = { x: 0, y: 0, r: 0 }; // the middle of our cells
const radii = new Map(); // of own cells as shown: they grow softly
const counted = { bytes: 0, snapshots: 0, frames: 0, cost: 0, dropped: 0, since: performance.now() };

const connection = new Connection({
  state(state, detail) {
    if (state !== 'connected' && state !== 'connecting') frozen ??= performance.now();
    hud.state(state, detail);
  },
  refused: (reason) => hud.ask(stored().name, reason),
  traffic: (bytes) => { counted.bytes += bytes; },
  message(message, now) {
    if (message.kind === WELCOME) welcome(message);
    else if (message.kind === SNAPSHOT) snapshot(message, now);
    else if (message.kind === BOARD) board(message);
    else if (message.kind === DIED) died(message);
  },
});

function welcome({ player, world, period, flags }) {
  if (flags & RESIZED && game) {
    game.world.size = game.prediction.size = world;
    return;
  }
  frozen = null;
  const ms = period / 10;
  const kept = flags & RESUMED && game?.world.me === player;
  game = {
    me: player, period: ms, dead: false, board: game?.board,
    world: kept ? game.world : new World(world, player),
    prediction: new Prediction(ms, world), playout: new Playout(ms),
  };
  game.world.size = world;
  document.body.dataset.resumed = Boolean(flags & RESUMED);
  hud.enter();
  hud.state('connected');
}

function snapshot(message, now) {
  const { world, prediction, playout } = game;
  world.apply(message);
  playout.sample(message.due, now);
  const mine = world.mine();
  const cells = mine.map(({ id, past }) => ({ id, ...past.at(-1) }));
  prediction.reconcile(cells, message.ack, playout.local(message.due), now);
  for (const id of radii.keys()) if (!world.entities.has(id)) radii.delete(id);
  counted.snapshots++;
  Object.assign(counted, { cost: message.cost / 100, dropped: message.dropped });
  const dead = (message.flags & DEAD) !== 0;
  if (game.dead && !dead) hud.born();
  if (dead) hud.over();
  game.dead = dead;
  document.body.dataset.playing = !dead;
  const mass = cells.reduce((sum, { r }) => sum + massOf(r), 0);
  const { x, y } = cells.length ? middleOf(cells) : own; // before the first frame, own is not known
  hud.own({ player: game.me, cells: mine.length, mass, x, y, food: nearestFood() });
}

// Where on the screen the next bite is.
function nearestFood() {
  let [best, nearest] = [null, Infinity];
  for (const e of game.world.entities.values()) {
    const place = e.past.at(-1);
    const far = Math.hypot(place.x - own.x, place.y - own.y);
    if (e.kind === FOOD && far < nearest) [best, nearest] = [place, far];
  }
  return best && view.toScreen(best);
}

function board(message) {
  game.board = message;
  hud.board(message, game.me);
}

function died(message) {
  input.release();
  hud.died(message, game.period);
}

// Inputs.

function steer(now) {
  if (!connection.open || !game || game.dead) return;
  const { dx, dy } = hud.playing ? input.vector(view.toScreen(own)) : { dx: 0, dy: 0 };
  game.heading = { dx, dy };
  if (!pace.due({ dx, dy }, input.pressed, now)) return;
  const flags = input.takeFlags();
  seq = (seq + 1) >>> 0;
  connection.send({ kind: INPUT, seq, dx, dy, flags });
  game.prediction.sent({ seq, dx, dy }, now);
}

// A frame.

let last = performance.now();

function frame(stamp) {
  requestAnimationFrame(frame);
  const ms = Math.min(Math.max(stamp - last, 0), 200);
  last = stamp;
  counted.frames++;
  steer(performance.now());
  const now = frozen ?? performance.now();
  if (!game || $('hud').hidden) {
    Object.assign(view.camera, { x: 500, y: 500, scale: Math.max(view.width, view.height) / 900 });
    view.draw({ size: 1000, things: decoration(stamp) }, stamp);
    return;
  }
  const at = game.playout.at(now);
  const places = [];
  for (const e of game.world.mine()) { // after coming back none has a place before the first snapshot
    const place = ownPlace(e, now, ms);
    if (place) places.push({ hue: e.hue, ...place });
  }
  look(places, ms);
  const largest = places.reduce((a, b) => (b.r > (a?.r ?? 0) ? b : a), null);
  view.draw({
    size: game.world.size, stick: input.stick,
    things: sceneOf(game.world, at, (e) => ownPlace(e, now, 0)),
    heading: largest && !frozen && { ...largest, ...game.heading },
  }, stamp);
}

function ownPlace(e, now, ms) {
  const place = game.prediction.at(e.id, now);
  if (!place) return null;
  const shown = radii.get(e.id) ?? place.r;
  const r = shown + (place.r - shown) * (1 - Math.exp(-ms / 80));
  radii.set(e.id, r);
  return { x: place.x, y: place.y, r };
}

// The camera keeps the middle of our cells in the middle, and the more of them the more in view.
function look(places, ms) {
  if (places.length) own = middleOf(places);
  view.follow({ x: own.x, y: own.y, span: SPAN * (Math.max(massOf(own.r), 10) / 10) ** 0.2 }, ms);
}

function middleOf(places) {
  const mass = places.reduce((sum, { r }) => sum + r * r, 0);
  const middle = (axis) => places.reduce((sum, place) => sum + place[axis] * place.r * place.r, 0) / mass;
  return { x: middle('x'), y: middle('y'), r: radiusOf(mass / 16) };
}

requestAnimationFrame(frame);
// A page that is hidden has no frames; its cell is to stop all the same.
document.addEventListener('visibilitychange', () => setTimeout(() => steer(performance.now()), 40));

// Figures, and what changes slowly.

setInterval(() => {
  const now = performance.now();
  const rate = 1000 / (now - counted.since);
  if (game) {
    hud.figures({
      rtt: connection.rtt, tick: counted.cost, bytes: counted.bytes * rate, snapshots: counted.snapshots * rate,
      dropped: counted.dropped, entities: game.world.entities.size, delay: game.playout.delay,
      error: game.prediction.error, frames: counted.frames * rate,
    });
  }
  Object.assign(counted, { bytes: 0, snapshots: 0, frames: 0, since: now });
}, 1_000);
setInterval(() => {
  if (!game || $('hud').hidden) return;
  const { size } = game.world;
  const [w, h] = [view.width / view.camera.scale / size, view.height / view.camera.scale / size];
  const at = { x: view.camera.x / size, y: view.camera.y / size };
  hud.map(game.board?.dots ?? [], { x: own.x / size, y: own.y / size }, { x: at.x - w / 2, y: at.y - h / 2, w, h });
}, 100);

// Buttons and keys.

$('join-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = $('name').value.trim();
  const wrong = nameError(name);
  hud.joinError(wrong);
  if (!wrong) connection.play(name);
});
$('death-form').addEventListener('submit', (event) => {
  event.preventDefault();
  connection.send({ kind: RESPAWN });
});
$('leave').addEventListener('click', () => {
  connection.leave();
  game = null;
  hud.ask(stored().name);
});
$('reconnect').addEventListener('click', () => connection.reconnect());
for (const [id, flag] of [['split', SPLIT], ['eject', EJECT]]) {
  $(id).addEventListener('pointerdown', (event) => {
    event.preventDefault(); // the finger on the stick goes on
    input.press(flag);
  });
  $(id).addEventListener('click', (event) => event.detail === 0 && input.press(flag)); // by keyboard
}
addEventListener('keydown', (event) => {
  if (event.code !== 'KeyO' || event.repeat || event.ctrlKey || event.metaKey || event.altKey || !hud.playing) return;
  hud.toggleFigures();
});

const { name, token } = stored();
if (token) connection.play(name, token);
else hud.ask(name);
