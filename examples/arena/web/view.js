// Draws the arena: a camera, and what is in front of it. Text goes through fillText only.
import { calm } from './scene.js';
import { CELL, FOOD, SPIKE } from './wire.js';

const PIXELS_MAX = 2; // device pixels per CSS pixel; more costs and shows nothing
const GRID = 50; // units
const FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, Inter, "Noto Sans", sans-serif';
const COLORS = ['outside', 'floor', 'grid', 'grid-strong', 'edge', 'stick']; // of style.css
const TAU = 2 * Math.PI;

const dark = matchMedia('(prefers-color-scheme: dark)');

/** Colours of a hue from 0 to 255, made once. */
class Paint {
  #made = new Map();

  constructor(context) {
    this.context = context;
    dark.addEventListener('change', () => this.#made.clear());
  }

  of(hue) {
    if (!this.#made.has(hue)) this.#made.set(hue, this.#make(hue * 360 / 256));
    return this.#made.get(hue);
  }

  #make(h) {
    const night = dark.matches;
    const color = (l, c) => `oklch(${l} ${c} ${h})`;
    const body = this.context.createRadialGradient(-0.3, -0.4, 0, -0.05, -0.08, 1.1); // of a circle of radius 1
    body.addColorStop(0, color(night ? 0.75 : 0.83, 0.12));
    body.addColorStop(0.5, color(night ? 0.68 : 0.76, 0.145));
    body.addColorStop(1, color(night ? 0.59 : 0.68, 0.16));
    return {
      body, rim: color(night ? 0.5 : 0.55, 0.15), halo: `oklch(${night ? 0.7 : 0.65} 0.15 ${h} / 0.16)`,
      ink: color(0.3, 0.08), dot: color(night ? 0.74 : 0.7, 0.16),
    };
  }
}

export class View {
  camera = { x: 0, y: 0, scale: 1 };
  #canvas; #context; #paint; #colors; #widths = new Map();

  constructor(canvas) {
    this.#canvas = canvas;
    this.#context = canvas.getContext('2d', { alpha: false });
    this.#paint = new Paint(this.#context);
    addEventListener('resize', () => this.#resize());
    dark.addEventListener('change', () => this.#restyle());
    this.#resize();
    this.#restyle();
  }

  #restyle() {
    const style = getComputedStyle(this.#canvas);
    this.#colors = Object.fromEntries(COLORS.map((name) => [name, style.getPropertyValue(`--${name}`)]));
  }

  #resize() {
    this.pixels = Math.min(devicePixelRatio || 1, PIXELS_MAX);
    this.width = innerWidth;
    this.height = innerHeight;
    this.#canvas.width = Math.round(this.width * this.pixels);
    this.#canvas.height = Math.round(this.height * this.pixels);
  }

  /** Moves the camera to want = {x, y, span}, softly; span: units across the longer side. */
  follow(want, ms) {
    const scale = Math.max(this.width, this.height) / want.span;
    const part = (tau) => 1 - Math.exp(-ms / tau);
    const { camera } = this;
    if (Math.hypot(want.x - camera.x, want.y - camera.y) > want.span) {
      Object.assign(camera, { x: want.x, y: want.y, scale });
    }
    camera.x += (want.x - camera.x) * part(90);
    camera.y += (want.y - camera.y) * part(90);
    camera.scale *= (scale / camera.scale) ** part(450);
  }

  toScreen({ x, y }) {
    const { camera } = this;
    return { x: (x - camera.x) * camera.scale + this.width / 2, y: (y - camera.y) * camera.scale + this.height / 2 };
  }

  /**
   * scene: {size, things: as of sceneOf, stick: as of Input, heading: {x, y, r, hue, dx, dy}}.
   */
  draw(scene, now) {
    const c = this.#context;
    this.#plain();
    c.fillStyle = this.#colors.outside;
    c.fillRect(0, 0, this.width, this.height);
    this.#floor(scene.size);
    for (const thing of scene.things) {
      const { x, y } = this.toScreen(thing);
      const r = thing.r * this.camera.scale;
      if (x + r < -20 || y + r < -20 || x - r > this.width + 20 || y - r > this.height + 20) continue;
      if (thing.kind === FOOD) this.#dot(x, y, r, thing.hue);
      else if (thing.kind === SPIKE) this.#spike(x, y, r, thing, now);
      else this.#cell(x, y, r, thing, now);
    }
    this.#plain();
    if (scene.heading) this.#arrow(scene.heading);
    if (scene.stick) this.#stick(scene.stick);
  }

  #plain() { this.#context.setTransform(this.pixels, 0, 0, this.pixels, 0, 0); }

  /** From now on the unit circle is a circle of radius r at x, y. */
  #circle(x, y, r) {
    const k = this.pixels;
    this.#context.setTransform(k * r, 0, 0, k * r, k * x, k * y);
  }

  #floor(size) {
    const c = this.#context;
    const a = this.toScreen({ x: 0, y: 0 });
    const b = this.toScreen({ x: size, y: size });
    const { scale } = this.camera;
    c.beginPath();
    c.roundRect(a.x, a.y, b.x - a.x, b.y - a.y, 12 * scale);
    c.fillStyle = this.#colors.floor;
    c.fill();
    const left = Math.max(0, a.x), right = Math.min(this.width, b.x);
    const top = Math.max(0, a.y), bottom = Math.min(this.height, b.y);
    for (const [each, color] of [[GRID, 'grid'], [GRID * 5, 'grid-strong']]) {
      const step = each * scale;
      if (step < 12 || left > right || top > bottom) continue;
      c.beginPath();
      for (let x = a.x + Math.ceil((left - a.x) / step) * step; x <= right; x += step) c.rect(x, top, 1, bottom - top);
      for (let y = a.y + Math.ceil((top - a.y) / step) * step; y <= bottom; y += step) c.rect(left, y, right - left, 1);
      c.fillStyle = this.#colors[color];
      c.fill();
    }
    c.beginPath();
    c.roundRect(a.x, a.y, b.x - a.x, b.y - a.y, 12 * scale);
    c.lineWidth = Math.max(2, 4 * scale);
    c.strokeStyle = this.#colors.edge;
    c.stroke();
  }

  #dot(x, y, r, hue) {
    const c = this.#context;
    this.#plain();
    c.fillStyle = this.#paint.of(hue).dot;
    c.beginPath();
    c.arc(x, y, Math.max(r, 1.5), 0, TAU);
    c.fill();
  }

  #cell(x, y, r, thing, now) {
    const c = this.#context;
    const paint = this.#paint.of(thing.hue);
    this.#circle(x, y, r);
    this.#outline(r, thing.id, calm.matches ? 0 : now);
    c.lineJoin = 'round';
    c.lineWidth = 2 * Math.min(0.16, (thing.mine ? 8 : 5) / r);
    c.strokeStyle = paint.halo;
    c.stroke();
    c.fillStyle = paint.body;
    c.fill();
    c.lineWidth = Math.min(0.14, Math.max(1.5, Math.min(r * 0.045, 6)) / r);
    c.strokeStyle = paint.rim;
    c.stroke();
    if (thing.kind === CELL && (r > 13 || thing.mine)) this.#label(x, y, r, thing, paint);
  }

  // A drop more than a circle: it trembles by a pixel or two.
  #outline(r, id, now) {
    const c = this.#context;
    const points = Math.round(Math.min(Math.max(r * this.pixels, 18), 150));
    const depth = r < 12 ? 0 : Math.min(0.8 / r, 0.011);
    const t = now / 520 + id;
    c.beginPath();
    for (let i = 0; i < points; i++) {
      const angle = (i / points) * TAU;
      const k = 1 + depth * (Math.sin(3 * angle + t) + 0.8 * Math.sin(5 * angle - 1.4 * t + id));
      c.lineTo(k * Math.cos(angle), k * Math.sin(angle));
    }
    c.closePath();
  }

  #spike(x, y, r, thing, now) {
    const c = this.#context;
    const paint = this.#paint.of(thing.hue);
    const turn = calm.matches ? 0 : now / 6_000 + thing.id;
    this.#circle(x, y, r);
    c.beginPath();
    for (let i = 0; i < 44; i++) {
      const angle = (i / 44) * TAU + turn;
      const k = i % 2 ? 0.9 : 1.04;
      c.lineTo(k * Math.cos(angle), k * Math.sin(angle));
    }
    c.closePath();
    c.lineJoin = 'round';
    c.fillStyle = paint.body;
    c.fill();
    c.lineWidth = Math.max(1.5, Math.min(r * 0.07, 6)) / r;
    c.strokeStyle = paint.rim;
    c.stroke();
  }

  #label(x, y, r, { name, mass, mine }, paint) {
    const c = this.#context;
    this.#plain();
    c.textAlign = 'center';
    c.textBaseline = 'middle';
    c.lineJoin = 'round';
    const weighed = mass !== undefined && r > 26;
    const px = name && Math.round(Math.min(r * 0.5, 1.65 * r / this.#widthOf(name), 64));
    const write = (text, size, at) => {
      c.font = `650 ${size}px ${FONT}`;
      c.lineWidth = Math.max(2, size / 8);
      c.strokeStyle = paint.ink;
      c.globalAlpha = 0.55;
      c.strokeText(text, x, at);
      c.globalAlpha = 1;
      c.fillStyle = '#fff';
      c.fillText(text, x, at);
    };
    if (name && px >= 9) write(name, px, weighed ? y - px * 0.12 : y);
    else if (name && mine) { // there is no room in it
      c.font = `650 12px ${FONT}`;
      c.fillStyle = paint.rim;
      c.fillText(name, x, y + r + 16);
    }
    if (weighed) write(String(Math.round(mass)), Math.round(Math.min(r * 0.26, 26)), name ? y + Math.max(px * 0.5, 4) + r * 0.16 : y);
  }

  // In units of the font's size.
  #widthOf(name) {
    if (this.#widths.size > 2_000) this.#widths.clear();
    if (!this.#widths.has(name)) {
      this.#context.font = `650 100px ${FONT}`;
      this.#widths.set(name, Math.max(0.5, this.#context.measureText(name).width / 100));
    }
    return this.#widths.get(name);
  }

  // Where the own cell is heading.
  #arrow({ x, y, r, dx, dy, hue }) {
    const power = Math.hypot(dx, dy);
    if (power < 0.05) return;
    const c = this.#context;
    const at = this.toScreen({ x, y });
    const away = r * this.camera.scale + 13;
    c.translate(at.x + dx / power * away, at.y + dy / power * away);
    c.rotate(Math.atan2(dy, dx));
    c.beginPath();
    c.moveTo(-3, -7);
    c.lineTo(5, 0);
    c.lineTo(-3, 7);
    c.lineWidth = 3;
    c.lineCap = c.lineJoin = 'round';
    c.globalAlpha = 0.25 + 0.5 * power;
    c.strokeStyle = this.#paint.of(hue).rim;
    c.stroke();
    c.globalAlpha = 1;
    this.#plain();
  }

  #stick({ x, y, dx, dy }) {
    const c = this.#context;
    const far = Math.max(1, Math.hypot(dx, dy) / 56);
    c.fillStyle = c.strokeStyle = this.#colors.stick;
    c.lineWidth = 2;
    c.beginPath();
    c.arc(x, y, 56, 0, TAU);
    c.stroke();
    c.beginPath();
    c.arc(x + dx / far, y + dy / far, 24, 0, TAU);
    c.fill();
  }
}
