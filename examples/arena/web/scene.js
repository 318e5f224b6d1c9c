// What there is to draw, at a time of the server.
import { massOf } from './predict.js';
import { CELL, EJECTED, FOOD } from './wire.js';
import { placeAt } from './world.js';

const FADE = 130; // ms to appear and to vanish

export const calm = matchMedia('(prefers-reduced-motion: reduce)');

/**
 * What is to be seen of a world at a time of the server, smallest first: things with x, y, r.
 * own(e): where an own cell is predicted to be.
 */
export function sceneOf(world, at, own) {
  const things = [];
  const grow = (f) => (calm.matches ? 1 : Math.min(Math.max(f, 0), 1));
  const show = (e, k) => {
    if (k <= 0) return;
    const mine = world.isMine(e);
    const place = (mine && own(e)) || placeAt(e, at);
    const mass = e.kind === CELL && mine ? massOf(place.r) : undefined;
    things.push({ id: e.id, kind: e.kind, hue: e.hue, name: e.name, mine, mass, x: place.x, y: place.y, r: place.r * k });
  };
  for (const e of world.entities.values()) {
    if (world.isMine(e) || e.bornAt <= at) show(e, world.isMine(e) ? 1 : grow((at - e.bornAt) / FADE));
  }
  // Own cells are shown as of now, and so is their end.
  for (const e of world.gone) {
    if (e.bornAt <= at && !world.isMine(e)) show(e, at < e.goneAt ? 1 : calm.matches ? 0 : 1 - (at - e.goneAt) / FADE);
  }
  world.sweep(at - FADE);
  return things.sort((a, b) => (a.kind === FOOD ? -1 : a.r) - (b.kind === FOOD ? -1 : b.r));
}

/** Cells that drift behind the join screen, in a world of 1000 units. */
export function decoration(now) {
  const t = calm.matches ? 0 : now / 1000;
  const chance = (i, k) => Math.abs(Math.sin(i * k) * 43758.5453) % 1;
  const things = [];
  for (let i = 0; i < 140; i++) {
    things.push({ id: i, kind: FOOD, hue: (i * 47) % 256, x: 1000 * chance(i + 1, 12.9898), y: 1000 * chance(i + 1, 78.233), r: 4.5 });
  }
  for (let i = 0; i < 16; i++) {
    const [angle, far] = [i * 2.4, 190 + 21 * i];
    things.push({
      id: i, kind: EJECTED, hue: (i * 53 + 20) % 256, r: 16 + 30 * chance(i + 1, 37.719),
      x: 500 + far * Math.cos(angle) + 18 * Math.sin(t * 0.21 + i), y: 500 + far * 0.7 * Math.sin(angle) + 18 * Math.cos(t * 0.17 + i),
    });
  }
  return things;
}
