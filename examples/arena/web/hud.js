// What stands around the arena: mass, leaders, map, figures, dialogs. Text is textContent only.

const $ = (id) => document.getElementById(id);
const FIGURES = [ // id, label, text of a value
  ['rtt', 'Round trip', (v) => `${v.toFixed(1)} ms`],
  ['tick', 'Server tick', (v) => `${v.toFixed(2)} ms`],
  ['bytes', 'Traffic', (v) => `${(v / 1000).toFixed(1)} kB/s`],
  ['snapshots', 'Snapshots', (v) => `${v.toFixed(0)} /s`],
  ['dropped', 'Dropped', String],
  ['entities', 'In view', String],
  ['delay', 'Interpolation', (v) => `${v.toFixed(0)} ms`],
  ['error', 'Prediction error', (v) => `${v.toFixed(1)} units`],
  ['frames', 'Frames', (v) => `${v.toFixed(0)} /s`],
];
const wholes = new Intl.NumberFormat('en');
const LEADERS = 10;

function element(tag, className, text) {
  const made = document.createElement(tag);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

export class Hud {
  #figures = new Map();
  #bestRank = 0;

  constructor() {
    for (const [id, label, text] of FIGURES) {
      const value = element('dd', '', '–');
      value.dataset.testid = `figure-${id}`;
      const row = element('div', '');
      row.append(element('dt', '', label), value);
      document.querySelector('#figures dl').append(row);
      this.#figures.set(id, { value, text });
    }
    $('figures-toggle').addEventListener('click', (event) => {
      this.toggleFigures();
      if (event.detail) $('arena').focus(); // by pointer: the next space is for the game
    });
    for (const id of ['join-dialog', 'death-dialog']) $(id).addEventListener('cancel', (event) => event.preventDefault());
  }

  get playing() { return !$('hud').hidden && !$('join-dialog').open && !$('death-dialog').open; }

  toggleFigures() {
    $('figures').hidden = !$('figures').hidden;
    $('figures-toggle').setAttribute('aria-expanded', !$('figures').hidden);
  }

  figures(values) {
    for (const [id, { value, text }] of this.#figures) {
      const v = values[id];
      value.dataset.value = Number.isFinite(v) ? v : '';
      value.textContent = Number.isFinite(v) ? text(v) : '–';
    }
  }

  // own: {player, cells, mass, x, y, food}; the attributes are for whoever tests or scripts the page.
  own(own) {
    Object.assign(document.body.dataset, {
      player: own.player, cells: own.cells, mass: own.mass.toFixed(2), x: own.x.toFixed(1), y: own.y.toFixed(1),
      food: own.food ? `${own.food.x.toFixed()},${own.food.y.toFixed()}` : '',
    });
    $('mass').textContent = wholes.format(Math.round(own.mass));
  }

  board({ players, leaders, rank }, me) {
    if (rank) this.#bestRank = Math.min(this.#bestRank || rank, rank);
    Object.assign(document.body.dataset, { players, rank });
    $('players').textContent = `of ${wholes.format(players)}`;
    $('rank').textContent = rank ? `Rank ${wholes.format(rank)} of ${wholes.format(players)}` : '';
    $('leaders').replaceChildren(...leaders.slice(0, LEADERS).map(({ player, mass, name }) => {
      const row = element('li', player === me ? 'me' : '');
      Object.assign(row.dataset, { testid: 'leader', player, name, mass });
      if (player === me) row.setAttribute('aria-current', 'true');
      const shown = element('span', 'name', name);
      shown.dir = 'auto';
      row.append(shown, element('span', 'score', wholes.format(mass)));
      return row;
    }));
  }

  /** dots: as in a board; own: {x, y} and view: {x, y, w, h} in parts of the world. */
  map(dots, own, view) {
    const canvas = $('minimap');
    const side = canvas.clientWidth;
    if (!side) return;
    const pixels = Math.min(devicePixelRatio || 1, 2);
    if (canvas.width !== Math.round(side * pixels)) canvas.width = canvas.height = Math.round(side * pixels);
    const c = canvas.getContext('2d');
    const style = getComputedStyle(canvas);
    c.setTransform(pixels, 0, 0, pixels, 0, 0);
    c.clearRect(0, 0, side, side);
    c.fillStyle = style.getPropertyValue('--soft');
    for (const { x, y, size } of dots) {
      c.beginPath();
      c.arc(x / 255 * side, y / 255 * side, 1.2 + size / 12, 0, 7);
      c.globalAlpha = 0.55;
      c.fill();
    }
    c.globalAlpha = 1;
    c.strokeStyle = style.getPropertyValue('--line');
    c.strokeRect(view.x * side, view.y * side, view.w * side, view.h * side);
    c.fillStyle = style.getPropertyValue('--accent');
    c.beginPath();
    c.arc(own.x * side, own.y * side, 3.5, 0, 7);
    c.fill();
  }

  // Dialogs.

  ask(name, error = '') {
    $('hud').hidden = true;
    if ($('death-dialog').open) $('death-dialog').close();
    if (!$('join-dialog').open) {
      $('name').value = name;
      $('join-dialog').showModal();
    }
    this.joinError(error);
  }

  joinError(error) {
    $('join-error').textContent = error;
    $('name').setAttribute('aria-invalid', error !== '');
    if (error) $('name').select();
  }

  enter() {
    if ($('join-dialog').open) $('join-dialog').close();
    $('hud').hidden = false;
    $('arena').focus();
  }

  born() {
    this.#bestRank = 0;
    $('death-by').textContent = 'somebody';
    $('death-tally').hidden = true;
    if ($('death-dialog').open) $('death-dialog').close();
    $('arena').focus();
  }

  died({ byName, mass, ticks }, period) {
    const seconds = Math.round(ticks * period / 1000);
    $('death-by').textContent = byName || 'the arena';
    $('death-mass').textContent = wholes.format(mass);
    $('death-time').textContent = `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, '0')}`;
    $('death-rank').textContent = this.#bestRank || '–';
    $('death-tally').hidden = false;
    this.announce(`Eaten by ${byName || 'the arena'}. Largest mass ${mass}.`);
    this.over();
  }

  /** The player has no cell; who comes back like that is not told how it came to it. */
  over() {
    if ($('death-dialog').open) return;
    $('death-dialog').show(); // not modal: the banner must stay in reach
    // Who hammers the space bar has to see this before it is gone.
    $('respawn').disabled = true;
    setTimeout(() => {
      $('respawn').disabled = false;
      if ($('death-dialog').open) $('respawn').focus();
    }, 700);
  }

  announce(text) { $('announce').textContent = text; }

  // State of the connection.

  state(state, detail) {
    const changed = document.body.dataset.state !== state;
    document.body.dataset.state = state;
    const [title, text] = {
      reconnecting: ['Connection lost.', `Reconnecting in ${detail}\u00a0s\u00a0…`],
      offline: ['You are offline.', `Next attempt in ${detail}\u00a0s\u00a0…`],
      replaced: ['Played elsewhere.', 'This cell was taken over by another tab.'],
      stopped: ['Disconnected.', detail ? `The server says: ${detail}.` : 'The server ended the connection.'],
    }[state] ?? ['', ''];
    const joined = !$('join-dialog').open;
    if (state === 'connecting' && !$('banner').hidden) $('banner-text').textContent = 'Reconnecting …';
    else $('banner').hidden = !title || !joined;
    if (title) {
      $('banner-title').textContent = title;
      $('banner-text').textContent = text;
      $('reconnect').textContent = state === 'replaced' ? 'Play here' : 'Reconnect now';
    }
    if (!joined) this.joinError(title && `${title} ${text}`);
    $('join').disabled = state === 'connecting';
    if (changed && joined) this.announce(state === 'connected' ? 'Connected.' : title);
  }
}
