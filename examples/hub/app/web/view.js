// What the page shows of the model that app.js keeps: {channels, outages, selected, me, state, until, reconnects, burst, nodes}.
import { avatar, clock, element } from './log.js';

export const $ = (id) => document.getElementById(id);
export const number = (n) => n.toLocaleString('en');
export const plural = (n, one, many = `${one}s`) => `${number(n)} ${n === 1 ? one : many}`;

let drawing = false;

/** Many things may change at once: they are drawn together, a moment later. */
export function draw(model) {
  if (drawing) return;
  drawing = true;
  setTimeout(() => {
    drawing = false;
    drawState(model);
    drawNodes(model);
    drawChannels(model);
    drawPeople(model);
    drawProof(model);
    drawOutages(model);
  }, 20);
}

function drawState({ state, until, outages, selected, burst }) {
  const left = `${Math.max(0, Math.ceil((until - Date.now()) / 1000))} s`;
  const away = navigator.onLine ? 'No connection to the server.' : 'You are offline.';
  const [short, long] = {
    idle: ['Not connected', ''],
    connecting: ['Connecting…', outages.length ? 'Connecting…' : ''],
    connected: ['Connected', ''],
    waiting: [`Back in ${left}`, `${away} Next attempt in ${left}.`],
    cut: [`Cut for ${left}`, `You are cut off for ${left} more. The others go on.`],
    stopped: ['Disconnected', 'The server has ended the connection.'],
  }[state];
  $('state').dataset.state = state;
  $('state').textContent = short;
  $('banner').hidden = !long;
  $('banner-text').textContent = long;
  $('cut-button').disabled = state !== 'connected';
  $('burst').disabled = state !== 'connected' || burst > 0 || !selected;
  $('burst').textContent = burst ? `Sending, ${burst} to go` : 'Send 100 messages';
}

/** Which node this is, how many there are, and who is missing. */
function drawNodes({ nodes, state }) {
  $('node').hidden = !nodes;
  if (!nodes) return;
  const { node, nodes: well, missing, expected = 0 } = nodes;
  const all = Math.max(expected, well.length + missing.length);
  const absent = all - well.length;
  const names = missing.length ? `${missing.join(', ')} missing` : `${number(absent)} missing`;
  $('node').textContent = `node ${node} · ${absent ? `${number(well.length)} of ${number(all)} · ${names}` : plural(all, 'node')}`;
  $('node').title = `Nodes that answer: ${well.join(', ')}${absent ? `; ${names}` : ''}`;
  Object.assign($('node').dataset, { node, well: well.length, all, missing: missing.join() });
  $('node').classList.toggle('short', absent > 0);
  $('node').classList.toggle('stale', state !== 'connected');
}

const rows = new WeakMap(); // channel → its row, which stays: it may have the focus, or a finger on it

function rowOf(channel) {
  if (rows.has(channel)) return rows.get(channel);
  const made = element('li', '', undefined, { testid: 'channel', channel: channel.name });
  const open = element('button', 'open');
  const name = element('span', 'name', `#${channel.name}`);
  name.dir = 'auto';
  open.append(name, element('span', 'count'), element('span', 'flag', '!'));
  const close = element('button', 'quiet close', '×', { testid: 'unfollow' });
  close.setAttribute('aria-label', `Do not follow ${channel.name} any more`);
  open.type = close.type = 'button';
  made.append(open, close);
  rows.set(channel, made);
  return made;
}

function drawChannels({ channels, selected }) {
  const list = [...channels.values()];
  const shown = list.map(rowOf);
  if (shown.length !== $('channels').children.length || shown.some((row, i) => row !== $('channels').children[i])) $('channels').replaceChildren(...shown);
  for (const [i, { name, unread, tally }] of list.entries()) {
    const [open] = shown[i].children;
    const [, count, flag] = open.children;
    open.setAttribute('aria-current', name === selected);
    open.setAttribute('aria-label', `${name}${unread ? `, ${number(unread)} unread` : ''}${tally.broken ? ', something is missing' : ''}`);
    count.textContent = number(unread);
    count.hidden = !unread;
    flag.hidden = !tally.broken;
  }
  const unread = list.reduce((sum, channel) => sum + channel.unread, 0);
  document.title = `${unread ? `(${number(unread)}) ` : ''}${selected ? `#${selected} · ` : ''}sockmill hub`;
}

function drawPeople({ channels, selected, me, state }) {
  const windows = new Map(); // user → connections
  for (const user of channels.get(selected)?.members.values() ?? []) windows.set(user, (windows.get(user) ?? 0) + 1);
  const row = ([user, count]) => {
    const made = element('li', '', undefined, { testid: 'person', user });
    const name = element('span', 'name', user || 'nobody');
    name.dir = 'auto';
    made.append(avatar(user), name);
    if (user === me) made.append(element('span', 'you', 'you'));
    if (count > 1) made.append(element('span', 'you', `${count} windows`));
    return made;
  };
  const order = ([a], [b]) => (b === me) - (a === me) || a.localeCompare(b);
  $('people').replaceChildren(...[...windows].sort(order).map(row));
  $('people-count').textContent = windows.size;
  $('people').classList.toggle('stale', state !== 'connected');
}

function drawProof(model) {
  const list = [...model.channels.values()];
  const sum = (figure) => list.reduce((n, { tally }) => n + tally[figure], 0);
  const figures = { received: sum('received'), of: sum('of'), missed: sum('missed'), twice: sum('twice'), coming: sum('coming'), reconnects: model.reconnects };
  Object.assign($('counter').dataset, figures);
  $('counter-of').textContent = `${number(figures.received)} of ${number(figures.of)}`;
  $('counter-text').textContent = `received, ${figures.missed ? `${number(figures.missed)} missed, ` : ''}${plural(model.reconnects, 'reconnect')}`;
  const [verdict, text] = judge(list.map(({ tally }) => tally), figures, model);
  $('verdict').dataset.verdict = verdict;
  $('verdict').textContent = text;
  $('positions').replaceChildren(...list.map(({ name, tally }) => {
    const made = element('tr', '', undefined, { testid: 'position', channel: name, epoch: tally.epoch });
    made.title = `Epoch ${tally.epoch}`;
    const head = element('th', 'name', `#${name}`);
    head.scope = 'row';
    const cells = tally.numbered ? [tally.joined, tally.top, tally.received, tally.missed].map(number) : ['–', '–', number(tally.received), '?'];
    made.append(head, ...cells.map((cell) => element('td', '', cell)));
    return made;
  }));
}

/** What the figures mean: [kind, sentence]. */
function judge(tallies, { missed, twice, coming }, { state, outages }) {
  if (tallies.some((t) => !t.numbered)) return ['unproven', 'Without a history there are no numbers: nothing can be proven.'];
  if (tallies.some((t) => t.unknown)) return ['lost', 'recovered: false. The history of the server began anew, or does not reach back to where you were: nobody can say what is missing.'];
  if (missed) return ['lost', `recovered: false. ${plural(missed, 'message')} had left the history of the server before you came back.`];
  if (twice) return ['lost', `${plural(twice, 'message')} came twice.`];
  if (state !== 'connected') return ['away', outages.length ? 'What is published now comes when you are back, if the history still has it.' : 'Not connected yet.'];
  if (!tallies.length) return ['away', 'Follow a channel.'];
  if (coming) return ['coming', `${plural(coming, 'message is', 'messages are')} on the way.`];
  if (!tallies.every((t) => t.confirmed)) return ['coming', 'Asking the server for its numbers.'];
  return ['complete', 'Nothing is missing. The server’s numbers agree.'];
}

function drawOutages({ outages }) {
  $('outages-none').hidden = outages.length > 0;
  $('outages').replaceChildren(...outages.map(({ since, until, cut, back, missed, recovered }) => {
    const made = element('li', '', undefined, { testid: 'outage', recovered: recovered ?? '' });
    made.append(element('b', '', clock(since)), ` ${cut ? 'cut' : 'lost the connection'}${until ? ` for ${((until - since) / 1000).toFixed(1)} s` : ''}`);
    if (recovered === undefined) return made;
    const what = missed ? `, ${missed === Infinity ? 'nobody knows how many' : number(missed)} missed` : '';
    const result = element('span', '', `${number(back)} came back${what} · `);
    result.append(element('code', '', `recovered: ${recovered}`));
    made.append(result);
    return made;
  }));
}
