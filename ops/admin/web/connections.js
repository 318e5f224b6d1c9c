// The list of connections: one page of it at a time, filtered and sorted by the server.
import { get } from './api.js';
import { $, attribute, element, fill, put } from './dom.js';
import { bytes, number, plural, span } from './format.js';
import { Table } from './table.js';

const DEEPEST = 10_000; // the server gives no connections behind so many
const TYPING = 250; // ms after the last key until the search begins
const FILTERS = ['q', 'listener', 'loop', 'phase', 'paused', 'sort'];

let go = () => {}; // to other parameters
let typing = 0;
let now = { sort: 'id', order: 'desc', limit: 50, offset: 0 };

/** What is unusual about a connection, in words. */
export function chips({ phase, paused, tapped, tls, compression }) {
  return [
    ...(phase === 'open' ? [] : [{ text: phase, kind: 'soft' }]),
    ...paused.map((why) => ({ text: `paused: ${why}`, kind: why === 'operator' ? 'warn' : 'hold' })),
    ...(tapped ? [{ text: 'watched', kind: 'soft' }] : []),
    ...(tls ? [{ text: 'TLS', kind: 'soft' }] : []),
    ...(compression ? [{ text: 'deflate', kind: 'soft' }] : []),
  ];
}

export function drawChips(place, list) {
  fill(place, list, ({ text }) => text, () => element('span', { class: 'chip' }), (chip, { text, kind }) => {
    put(chip, text);
    chip.dataset.kind = kind;
  });
}

/** The client's address; behind a proxy it is another one than the peer's. */
export const address = ({ client, remote }) => (client && !remote.startsWith(client) && !remote.startsWith(`[${client}]`) ? client : remote || client);

function drawClient(cell, connection) {
  if (!cell.firstElementChild) cell.append(element('a', { data: { testid: 'open' } }), element('span', { class: 'sub' }));
  const [link, id] = cell.children;
  attribute(link, 'href', `#/connection/${connection.id}`);
  put(link, address(connection));
  put(id, `#${connection.id}`);
}

/** The same in a word or two: the list has no room for more. The colour, and the title of the cell, say that reading is paused. */
function state({ phase, paused }) {
  if (phase !== 'open') return { text: phase, kind: 'soft' };
  if (!paused.length) return { text: 'open', kind: 'plain' };
  return { text: paused.join(', '), kind: paused.includes('operator') ? 'warn' : 'hold' };
}

const dash = (text) => text || '–';
const short = (handler) => handler.slice(handler.lastIndexOf('/') + 1);

const columns = [
  { label: 'Client', name: 'client', sort: 'client', draw: drawClient, title: ({ remote, listener }) => `${remote} on ${listener || 'no listener'}` },
  { label: 'User', name: 'user', sort: 'user', text: ({ user }) => dash(user), title: ({ user }) => user },
  { label: 'Handler', name: 'handler', sort: 'handler', text: ({ handler }) => dash(short(handler)), title: ({ handler }) => handler },
  { label: 'Age', name: 'age', n: true, sort: 'age', text: ({ ageMs }) => span(ageMs / 1000) },
  { label: 'In', n: true, sort: 'bytesIn', text: ({ bytesIn }) => bytes(bytesIn) },
  { label: 'Out', n: true, sort: 'bytesOut', text: ({ bytesOut }) => bytes(bytesOut) },
  { label: 'Msgs in', n: true, sort: 'messagesIn', text: ({ messagesIn }) => number(messagesIn) },
  { label: 'Msgs out', n: true, sort: 'messagesOut', text: ({ messagesOut }) => number(messagesOut) },
  { label: 'Queued', name: 'queued', n: true, sort: 'queued', text: ({ queuedBytes }) => bytes(queuedBytes) },
  { label: 'Deflate', name: 'deflate', text: ({ compression }) => (compression ? 'yes' : 'no'), title: ({ compression }) => compression },
  { label: 'State', name: 'is', draw: (cell, connection) => drawChips(cell, [state(connection)]), title: ({ phase, paused }) => [phase, ...paused.map((why) => `paused: ${why}`)].join(', ') },
];

const list = new Table($('list'), columns, ({ id }) => id, (sort) => sortBy(sort));
$('sort').append(element('option', { value: 'id', text: 'Newest' }),
  ...columns.filter(({ sort }) => sort).map(({ sort, label }) => element('option', { value: sort, text: label })),
  ...['dropped', 'topics', 'remote', 'loop', 'listener', 'phase'].map((sort) => element('option', { value: sort, text: sort[0].toUpperCase() + sort.slice(1) })));

const isText = (sort) => ['client', 'user', 'handler', 'remote', 'listener', 'phase'].includes(sort);

function sortBy(sort) {
  const turned = now.order === 'desc' ? 'asc' : 'desc';
  go({ sort, order: sort === now.sort ? turned : (isText(sort) ? 'asc' : 'desc'), offset: 0 });
}

function drawFilters({ listeners, loops }) {
  const offer = (select, values) => {
    for (const value of values) {
      if (![...select.options].some((o) => o.value === value.value)) select.append(element('option', value));
    }
  };
  offer($('listener'), listeners.map(({ name }) => ({ value: name, text: name })));
  offer($('loop'), loops.map(({ index }) => ({ value: String(index), text: `Loop ${index}` })));
  for (const name of FILTERS) if (document.activeElement !== $(name)) $(name).value = now[name] ?? '';
  $('limit').value = String(now.limit);
  put($('order'), now.order === 'desc' ? 'Falling ↓' : 'Rising ↑');
  list.sorted(now.sort, now.order);
}

function drawPager({ matched, offset, limit, connections }) {
  const last = Math.min(matched, DEEPEST);
  put($('page-range'), matched ? `${number(offset + 1)}–${number(offset + connections.length)} of ${number(matched)}` : '0 of 0');
  for (const id of ['page-first', 'page-back']) $(id).disabled = offset === 0;
  $('page-next').disabled = offset + limit >= last;
  $('deep').hidden = matched <= DEEPEST;
  put($('deep'), `The list ends at ${number(DEEPEST)}. Search, filter or sort to see others.`);
}

function draw(answer, status) {
  drawFilters(status);
  const { total, matched, connections } = answer;
  put($('found'), matched === total ? plural(total, 'connection') : `${number(matched)} of ${plural(total, 'connection')}`);
  list.draw(connections);
  drawPager(answer);
  $('silent').hidden = !answer.silent.length;
  put($('silent'), `Connections are missing: ${plural(answer.silent.length, 'loop')} did not answer in time (${answer.silent.join(', ')}). The overview shows what holds a loop.`);
  $('list-empty').hidden = connections.length > 0;
  put($('list-empty'), total === 0 ? 'Nobody is connected. Connections show here as soon as they come.' : 'No connection matches. Take a filter away, or search for less.');
}

const numeric = (text, least, most, otherwise) => (/^\d+$/.test(text) ? Math.min(most, Math.max(least, Number(text))) : otherwise);

export const view = {
  name: 'connections',
  title: 'Connections',
  begin(params, change) {
    go = change;
    $('back').href = location.hash; // from one of them back to this list
    now = { sort: 'id', order: 'desc', ...params };
    now.limit = numeric(params.limit, 1, 200, 50);
    now.offset = numeric(params.offset, 0, DEEPEST - now.limit, 0);
  },
  load: (_, signal) => get('api/connections', now, signal),
  draw,
};

$('filters').addEventListener('submit', (event) => event.preventDefault());
$('filters').addEventListener('input', ({ target }) => {
  clearTimeout(typing);
  const apply = () => (target.id === 'sort' ? sortBy(target.value) : go({ [target.name]: target.value, offset: 0 }));
  if (target.id === 'q') typing = setTimeout(apply, TYPING);
  else apply();
});
$('order').addEventListener('click', () => sortBy(now.sort));
$('limit').addEventListener('change', () => go({ limit: $('limit').value, offset: 0 }));
$('page-first').addEventListener('click', () => go({ offset: 0 }));
$('page-back').addEventListener('click', () => go({ offset: Math.max(0, now.offset - now.limit) }));
$('page-next').addEventListener('click', () => go({ offset: now.offset + now.limit }));
