// Mouse, keyboard and touch, made into one vector and two buttons.
import { EJECT, SPLIT } from './wire.js';

const FULL = 0.22; // of the shorter side of the window: so far from the cell is full throttle
const STILL = 10; // px around the cell, or of the joystick, that mean standing
const STICK = 56; // px to full throttle by touch
const AXES = {
  KeyW: [0, -1], ArrowUp: [0, -1], KeyS: [0, 1], ArrowDown: [0, 1],
  KeyA: [-1, 0], ArrowLeft: [-1, 0], KeyD: [1, 0], ArrowRight: [1, 0],
};
const BUTTONS = { Space: SPLIT, KeyE: EJECT };

export class Input {
  #pointer = { x: 0, y: 0 };
  #keys = new Set();
  #flags = 0;
  #by = 'none'; // what steered last: mouse, keys, touch
  stick = null; // {x, y, dx, dy} in px while a finger steers

  /**
   * area: the element that is played on; playing(): whether input is the game's.
   * touched(): called when the first finger comes.
   */
  constructor(area, { playing, touched }) {
    this.playing = playing;
    this.touched = touched;
    addEventListener('keydown', (event) => this.#key(event, true));
    addEventListener('keyup', (event) => this.#key(event, false));
    addEventListener('blur', () => this.release());
    document.addEventListener('visibilitychange', () => document.hidden && this.release());
    area.addEventListener('pointerdown', (event) => this.#down(area, event));
    area.addEventListener('pointermove', (event) => this.#move(event));
    for (const type of ['pointerup', 'pointercancel']) area.addEventListener(type, (event) => this.#up(event));
    area.addEventListener('contextmenu', (event) => event.preventDefault());
  }

  get pressed() { return this.#flags !== 0; }

  press(flag) { this.#flags |= flag; }

  /** The buttons pressed since it was called last. */
  takeFlags() {
    const flags = this.#flags;
    this.#flags = 0;
    return flags;
  }

  /** {dx, dy}, at most 1 long. center: where on the screen the own cells are. */
  vector(center) {
    if (this.#by === 'keys') {
      let [x, y] = [0, 0];
      for (const code of this.#keys) {
        x += AXES[code][0];
        y += AXES[code][1];
      }
      return throttle(x, y, 1, 0);
    }
    if (this.#by === 'touch') return this.stick ? throttle(this.stick.dx, this.stick.dy, STICK, STILL) : { dx: 0, dy: 0 };
    if (this.#by === 'none') return { dx: 0, dy: 0 };
    return throttle(this.#pointer.x - center.x, this.#pointer.y - center.y, FULL * Math.min(innerWidth, innerHeight), STILL);
  }

  /** Lets go of everything. */
  release() {
    this.#keys.clear();
    this.#flags = 0;
    this.stick = null;
    this.#by = 'none';
  }

  #key(event, down) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (!down) {
      this.#keys.delete(event.code);
      return;
    }
    if (!this.playing() || event.target.closest?.('input, button, dialog')) return;
    if (event.code in AXES) {
      this.#keys.add(event.code);
      this.#by = 'keys';
    } else if (event.code in BUTTONS) {
      if (!event.repeat || event.code === 'KeyE') this.press(BUTTONS[event.code]);
    } else {
      return;
    }
    event.preventDefault();
  }

  #down(area, event) {
    if (!this.playing()) return;
    if (event.pointerType === 'mouse') return this.#move(event);
    this.touched();
    if (this.stick) return;
    area.setPointerCapture(event.pointerId);
    this.#by = 'touch';
    this.stick = { id: event.pointerId, x: event.clientX, y: event.clientY, dx: 0, dy: 0 };
  }

  #move(event) {
    if (event.pointerType === 'mouse') {
      this.#pointer = { x: event.clientX, y: event.clientY };
      this.#by = 'mouse';
    } else if (this.stick?.id === event.pointerId) {
      this.stick.dx = event.clientX - this.stick.x;
      this.stick.dy = event.clientY - this.stick.y;
    }
  }

  #up(event) {
    if (this.stick?.id === event.pointerId) this.stick = null;
  }
}

function throttle(x, y, full, still) {
  const length = Math.hypot(x, y);
  if (length <= still) return { dx: 0, dy: 0 };
  const scale = Math.min(1, (length - still) / (full - still)) / length;
  return { dx: x * scale, dy: y * scale };
}
