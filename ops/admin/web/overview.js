// The first view: is the program well, what does it do now, and which loop is held by what.
import { $, attribute, element, facts, fill, put, Sparkline } from './dom.js';
import { brief, bytes, number, percent, plural, rate, span } from './format.js';
import { Table } from './table.js';

const WARN_DAYS = 14; // until a certificate expires

let before = null; // the status before this one: two give a rate
const sparks = new Map();

const listed = (name) => `#/connections?listener=${encodeURIComponent(name)}`;

function meter(cell, share) {
  if (!cell.firstElementChild) {
    const bar = element('span', { class: 'bar', 'aria-hidden': 'true' }, element('span'));
    cell.append(bar, element('span', { class: 'of' }));
  }
  const part = Math.min(1, Math.max(0, share));
  cell.firstElementChild.firstElementChild.style.setProperty('inline-size', `${part * 100}%`);
  cell.firstElementChild.classList.toggle('high', part > 0.8);
  put(cell.lastElementChild, share < 0 ? '–' : percent(part));
}

function link(cell, href, text) {
  if (!cell.firstElementChild) cell.append(element('a'));
  attribute(cell.firstElementChild, 'href', href);
  put(cell.firstElementChild, text);
}

const loops = new Table($('loops'), [
  { label: 'Loop', name: 'index', draw: (cell, { index }) => link(cell, `#/connections?loop=${index}`, `Loop ${index}`) },
  { label: 'Load', name: 'load', draw: (cell, loop) => meter(cell, loop.load) },
  { label: 'Mean turn', n: true, text: ({ turnMs }) => (turnMs < 0 ? '–' : brief(turnMs / 1000)) },
  { label: 'Turns/s', n: true, text: ({ turnRate }) => (turnRate === null ? '–' : rate(turnRate)) },
  { label: 'Connections', n: true, text: ({ connections }) => number(connections) },
  { label: 'Inbox', n: true, text: ({ posts, inboxBytes }) => (posts ? `${number(posts)} · ${bytes(inboxBytes)}` : '0') },
  { label: 'Held', n: true, text: ({ held }) => number(held) },
  { label: 'What holds it now', name: 'now', draw: drawHolder },
], ({ index }) => index);

function drawHolder(cell, { heldMs, callback, connection }) {
  cell.classList.toggle('bad', heldMs > 0);
  if (!heldMs) {
    if (cell.textContent !== '–') cell.replaceChildren('–');
    return;
  }
  const what = `${callback || 'a turn'} for ${brief(heldMs / 1000)}`;
  if (!connection) {
    put(cell, what);
    return;
  }
  if (!cell.firstElementChild) cell.replaceChildren('', element('a'));
  put(cell.lastElementChild, `#${connection}`);
  attribute(cell.lastElementChild, 'href', `#/connection/${connection}`);
  cell.firstChild.data = `${what}, of `;
}

const listeners = new Table($('listeners'), [
  { label: 'Address', name: 'address', draw: (cell, { name }) => link(cell, listed(name), name) },
  { label: 'Connections', n: true, text: ({ connections }) => number(connections) },
  { label: 'Half open', n: true, text: ({ halfOpen }) => number(halfOpen) },
  { label: 'Accepted', n: true, text: ({ accepted }) => number(accepted) },
  { label: 'Refused', n: true, text: ({ refused }) => number(refused) },
  { label: 'TLS failed', n: true, text: ({ tlsFailed, certificateExpires }) => (tlsFailed || certificateExpires ? number(tlsFailed) : '–') },
  { label: 'Certificate', name: 'until', draw: drawCertificate },
], ({ name }) => name);

function drawCertificate(cell, { certificateExpires }) {
  const days = certificateExpires ? (Date.parse(certificateExpires) - Date.now()) / 86_400_000 : Infinity;
  cell.classList.toggle('bad', days < WARN_DAYS);
  if (days === Infinity) put(cell, '–');
  else put(cell, days < 0 ? `expired ${span(-days * 86400)} ago` : `good for ${span(days * 86400)}`);
}

function drawHealth({ health, drain, hub }) {
  const verdicts = [
    { name: 'live', yes: 'Live', no: 'Not live', well: 'All loops turn.', ...health.live },
    { name: 'ready', yes: 'Ready', no: 'Not ready', well: 'New connections are welcome.', ...health.ready },
  ];
  if (hub?.brokerError) verdicts.push({ name: 'broker', no: 'Broker', ok: false, reasons: [hub.brokerError] });
  if (drain) verdicts.push({ name: 'drain', no: 'Draining', ok: false, reasons: [`${drain.stage}: ${number(drain.left)} of ${plural(drain.total, 'connection')} left`] });
  fill($('health'), verdicts, ({ name }) => name,
    ({ name }) => element('div', { class: 'verdict', data: { testid: `health-${name}` } }, element('b'), element('ul')),
    (row, { yes, no, ok, well, reasons }) => {
      row.dataset.ok = ok;
      put(row.firstElementChild, ok ? yes : no);
      const lines = reasons?.length ? reasons : [ok ? well : 'No reason was given.'];
      fill(row.lastElementChild, lines.map((text, i) => ({ text, i })), ({ i }) => i, () => element('li', { dir: 'auto' }), (li, { text }) => put(li, text));
    });
}

/** The difference of two answers, a second. null: there is none before. */
function perSecond(status, of) {
  const seconds = before ? (status.process.uptimeMs - before.process.uptimeMs) / 1000 : 0;
  return seconds > 0 ? Math.max(0, of(status) - of(before)) / seconds : null;
}

function tiles(status) {
  const { engine, hub } = status;
  const speed = (of, unit, show = rate) => {
    const n = perSecond(status, of);
    return { n, text: n === null ? '–' : show(n), unit };
  };
  const closing = speed(({ engine: { closed } }) => closed);
  return [
    { name: 'open', label: 'Open', n: engine.open, text: number(engine.open), note: `of ${number(engine.most)} at most` },
    { name: 'in', label: 'Messages in', ...speed((s) => s.engine.messagesIn, '/s'), note: `${speed((s) => s.engine.bytesIn, '', bytes).text}/s` },
    { name: 'out', label: 'Messages out', ...speed((s) => s.engine.messagesOut, '/s'), note: `${speed((s) => s.engine.bytesOut, '', bytes).text}/s` },
    { name: 'accepted', label: 'Accepted', ...speed((s) => s.engine.accepted, '/s'), note: `${closing.text}/s closed` },
    { name: 'buffers', label: 'Buffers', n: engine.bufferBytes, text: bytes(engine.bufferBytes), note: `of ${bytes(engine.bufferBytesMax)}` },
    ...(hub ? [{ name: 'hub', label: 'Hub clients', n: hub.clients, text: number(hub.clients), note: plural(hub.users, 'user') }] : []),
  ];
}

function drawTiles(status, fresh) {
  fill($('tiles'), tiles(status), ({ name }) => name, ({ name }) => {
    sparks.set(name, new Sparkline());
    return element('div', { class: 'tile', data: { testid: `tile-${name}` } },
      element('p', { class: 'label' }), element('p', { class: 'figure' }, element('b'), element('span')), element('p', { class: 'note' }), sparks.get(name).node);
  }, (tile, { name, label, text, unit = '', note, n }) => {
    const [head, figure, foot] = tile.children;
    put(head, label);
    put(figure.firstElementChild, text);
    put(figure.lastElementChild, unit);
    put(foot, note);
    if (fresh && n !== null) sparks.get(name).add(n);
  });
}

function drawLoops(status) {
  const earlier = new Map(before?.loops.map((loop) => [loop.index, loop]));
  const seconds = before ? (status.process.uptimeMs - before.process.uptimeMs) / 1000 : 0;
  loops.draw(status.loops.map((loop) => {
    const was = earlier.get(loop.index);
    return { ...loop, turnRate: was && seconds > 0 ? (loop.turns - was.turns) / seconds : null };
  }));
  $('unmeasured').hidden = !status.loops.some(({ load }) => load < 0);
}

function drawFacts({ engine, process, hub, links }) {
  facts($('now'), [
    ['Connections', number(engine.connections)], ['Of these, open', number(engine.open)], ['Under backpressure', number(engine.backpressure)], ['Queued', bytes(engine.queuedBytes)],
    ['Compression contexts', bytes(engine.takeoverBytes)], ['Functions of Conn.Go', number(engine.goRunning)], ['Of these, waiting', number(engine.goWaiting)],
    ...(hub ? [['Clients of the hub', number(hub.clients)], ['Users', number(hub.users)], ['Channels', number(hub.channels)], ['Subscriptions', number(hub.subscriptions)]] : []),
  ]);
  facts($('totals'), [
    ['Accepted', number(engine.accepted)], ['Refused', number(engine.refused)], ['Dialled', number(engine.dialled)], ['Closed', number(engine.closed)],
    ['Messages in', number(engine.messagesIn)], ['Messages out', number(engine.messagesOut)], ['Received', bytes(engine.bytesIn)], ['Sent', bytes(engine.bytesOut)],
    ['Dropped', number(engine.dropped)], ['Of these, at the end of a connection', number(engine.discarded)], ['Replaced', number(engine.replaced)],
    ['Paused for a rate limit', number(engine.rateLimited)], ['Loops held too long', number(engine.loopHeld)],
  ]);
  facts($('about'), [
    ['Uptime', span(process.uptimeMs / 1000)], ['Process', `${process.pid} on ${process.host}`], ['Version', process.version], ['Go', process.goVersion],
    ['Processors', number(process.cpus)], ['CPU time', process.cpuMs < 0 ? '' : span(process.cpuMs / 1000)],
    ['Heap in use', bytes(process.heapBytes)], ['Memory of the runtime', bytes(process.memoryBytes)], ['Collections', number(process.gcs)], ['Goroutines', number(process.goroutines)],
    ['Descriptors', process.openFiles < 0 ? '' : `${number(process.openFiles)} of ${number(process.openFilesMax)}`],
  ]);
  const there = [
    ...(links.metrics ? [['Metrics', links.metrics]] : []),
    ...(links.profile ? [['Profiles', links.profile], ['CPU profile of 10 s', `${links.profile}profile?seconds=10`], ['Goroutines', `${links.profile}goroutine?debug=1`]] : []),
    ...(links.healthz ? [['healthz', links.healthz]] : []), ...(links.readyz ? [['readyz', links.readyz]] : []),
  ];
  fill($('links'), there, ([, href]) => href, ([text, href]) => element('li', {}, element('a', { href, text })), () => {});
  $('links').hidden = !there.length;
}


export function draw(status) {
  const fresh = status !== before;
  drawHealth(status);
  drawTiles(status, fresh);
  drawLoops(status);
  listeners.draw(status.listeners);
  drawFacts(status);
  before = status;
}

export const view = { name: 'overview', title: 'Overview', load: async () => null, draw: (_, status) => draw(status) };
