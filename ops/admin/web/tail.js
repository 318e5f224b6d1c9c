// The frames of one connection as they come and go.
import { $, element, put } from './dom.js';
import { bytes, number, plural, stamp } from './format.js';

const KEPT = 200; // rows; the oldest leave first
const PACE = 500; // milliseconds from one drawing to the next

/** The text of a payload if it is text, else its bytes in hexadecimal. */
function readable(base64, opcode) {
  const data = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
  if (opcode !== 'binary') {
    try {
      return new TextDecoder('utf-8', { fatal: true }).decode(data);
    } catch { /* not text, or cut off within a character */ }
  }
  return [...data].map((byte) => byte.toString(16).padStart(2, '0')).join(' ');
}

function row({ atMs, in: inward, opcode, fin, rsv, masked, length, payload }) {
  const flags = [fin && 'FIN', rsv & 4 && 'RSV1', rsv & 2 && 'RSV2', rsv & 1 && 'RSV3', masked && 'mask'].filter(Boolean);
  const cells = [
    element('td', { class: 'n', text: stamp(atMs) }),
    element('td', { class: inward ? 'in' : 'out', text: inward ? '← in' : 'out →' }),
    element('td', { text: opcode }), element('td', { class: 'flags', text: flags.join(' ') }),
    element('td', { class: 'n', text: length < 10_000 ? `${number(length)} B` : bytes(length) }),
  ];
  const rows = [element('tr', { data: { testid: 'frame', way: inward ? 'in' : 'out', opcode } }, ...cells)];
  if (payload !== undefined) {
    const shown = element('code', { text: readable(payload, rsv & 4 ? 'binary' : opcode), dir: 'auto' });
    const cut = length > atob(payload).length ? ' …' : '';
    rows.push(element('tr', { class: 'payload', data: { testid: 'payload' } }, element('td', { colspan: '5' }, shown, cut)));
  }
  return rows;
}

export class Tail {
  #address;
  #source = null;
  #seen = 0;
  #lost = 0;
  #fresh = []; // frames that are not drawn yet
  #timer = 0;

  /** address(payload) is where the events are. */
  constructor(address) {
    this.#address = address;
    $('tail-toggle').addEventListener('click', () => (this.#source ? this.stop('Stopped') : this.start()));
    $('tail-clear').addEventListener('click', () => this.#clear());
    $('tail-payload').addEventListener('change', () => this.#source && this.start());
  }

  /** Whether there is something to look at. */
  may(there) {
    $('tail-toggle').disabled = !there && !this.#source;
  }

  reset() {
    this.stop('Stopped');
    this.#clear();
    $('tail-payload').checked = false;
  }

  start() {
    this.stop('Connecting…');
    const source = this.#source = new EventSource(this.#address($('tail-payload').checked));
    put($('tail-toggle'), 'Stop');
    const on = (type, act) => source.addEventListener(type, ({ data }) => source === this.#source && act(JSON.parse(data)));
    on('start', () => this.#say());
    on('frames', (frames) => {
      this.#seen += frames.length;
      this.#fresh = [...this.#fresh, ...frames].slice(-KEPT);
      this.#soon();
    });
    on('dropped', ({ frames }) => { this.#lost += frames; this.#soon(); });
    on('end', ({ reason }) => this.stop(reason ? `Ended: ${reason}` : 'Ended'));
    source.onerror = () => source === this.#source && this.stop('The live view broke off. Start it again.');
  }

  stop(why) {
    this.#source?.close();
    this.#draw();
    this.#source = null;
    put($('tail-toggle'), 'Start');
    put($('tail-state'), why);
  }

  /** The first frame is drawn at once; of a connection that floods, all that came within a pace together. */
  #soon() {
    if (this.#timer) return;
    this.#draw();
    this.#timer = setTimeout(() => { this.#timer = 0; this.#draw(); }, PACE);
  }

  #draw() {
    const frames = this.#fresh;
    this.#fresh = [];
    if (frames.length) {
      const place = $('frames');
      const scroll = $('tail-scroll');
      const atEnd = scroll.scrollTop + scroll.clientHeight >= scroll.scrollHeight - 8;
      place.append(...frames.flatMap(row));
      while (place.childElementCount > KEPT) place.firstElementChild.remove();
      $('tail-empty').hidden = true;
      if (atEnd) scroll.scrollTop = scroll.scrollHeight;
    }
    if (this.#source) this.#say();
  }

  #say() {
    const lost = this.#lost ? `, ${number(this.#lost)} left out because they came too fast` : '';
    put($('tail-state'), `Live: ${plural(this.#seen, 'frame')}${lost}`);
  }

  #clear() {
    this.#seen = this.#lost = 0;
    this.#fresh = [];
    $('frames').replaceChildren();
    $('tail-empty').hidden = false;
    if (this.#source) this.#say();
  }
}
