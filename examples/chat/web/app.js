// Puts the parts together: page, connection, poller.
import { Connection } from './connection.js';
import { avatar, element, Log } from './log.js';
import { Meter, now, showMeters } from './meter.js';
import { Poller } from './poller.js';

const STORED = 'sockmill-chat'; // {room, nick, token}: this tab only, so that a reload comes back
const TYPING_SHOWN = 4_000;

const $ = (id) => document.getElementById(id);
const roomOfURL = () => {
  try {
    return decodeURIComponent(location.hash.slice(1)).toLowerCase();
  } catch {
    return '';
  }
};
const stored = () => JSON.parse(sessionStorage.getItem(STORED) ?? 'null');

let who = stored() ?? { room: '', nick: '' };
let joined = false;
const members = new Map(); // public name of the session → nick
const typists = new Map(); // public name of the session → timer

const log = new Log($('log'), 'message', $('unread'));
const pollLog = new Log($('poll-log'), 'poll-message');
const wsMeter = new Meter();
const pollMeter = new Meter();
showMeters(wsMeter, pollMeter);

const connection = new Connection({
  state: showState,
  welcome(message) {
    who = { ...who, nick: message.you.nick, token: message.token };
    sessionStorage.setItem(STORED, JSON.stringify(who));
    members.clear();
    for (const { u, nick } of message.members) members.set(u, nick);
    showMembers();
    if ($('join-dialog').open) $('join-dialog').close();
    if (joined) return;
    joined = true;
    $('composer').focus();
    poller.start(who.room);
  },
  lost: () => log.lost(),
  message(message, own, live) {
    stopTyping(message.u);
    if (live) log.message(message, own, live);
    else log.quietly(() => log.message(message, own, live));
  },
  status: (id, status, reason) => log.status(id, status, reason),
  presence({ t, u, nick, back }) {
    if (t === 'typing') return showTyping(u, nick);
    stopTyping(u);
    if (t === 'join') members.set(u, nick);
    else members.delete(u);
    showMembers();
    const kind = t === 'join' && back ? 'back' : t;
    log.note(kind, `${nick} ${{ join: 'joined', back: 'is back', leave: 'left' }[kind]}`);
  },
  refused({ code, reason }) {
    ask(reason, code === 'room' ? 'room' : 'nick');
  },
}, wsMeter);

const poller = new Poller({
  message: (message) => pollLog.message(message, connection.isMine(message.u), true),
  lost: () => pollLog.lost(),
  state(state, text) {
    $('poll-state').dataset.state = state;
    $('poll-state').textContent = text;
  },
}, pollMeter, connection.clock);

// Joining.

function ask(error = '', field = 'nick') {
  $('nick').value = who.nick;
  $('room').value = who.room || roomOfURL() || 'lobby';
  $('join-error').textContent = error;
  $('room').disabled = joined; // the log below belongs to it
  if (!$('join-dialog').open) $('join-dialog').showModal();
  if (error) $(field).select();
}

function join(next) {
  who = next;
  history.replaceState(null, '', `#${encodeURIComponent(who.room)}`);
  $('room-name').textContent = `#${who.room}`;
  $('poll-room').textContent = who.room;
  connection.join(who);
}

$('join').addEventListener('submit', (event) => {
  event.preventDefault();
  $('join-error').textContent = '';
  const room = $('room').value.trim().replace(/^#/, '').toLowerCase();
  const nick = $('nick').value.trim();
  join({ room, nick, token: room === who.room ? who.token : undefined });
});
$('join-dialog').addEventListener('cancel', (event) => event.preventDefault());
$('leave').addEventListener('click', () => {
  sessionStorage.setItem(STORED, JSON.stringify({ room: '', nick: who.nick }));
  location.reload();
});
addEventListener('hashchange', () => {
  if (!joined) $('room').value = roomOfURL();
  else if (roomOfURL() !== who.room) location.reload();
});

// State of the connection.

function showState(state, detail) {
  const wait = detail && `${detail} s`;
  const [short, long] = {
    connecting: ['Connecting…', ''],
    connected: ['Connected', ''],
    reconnecting: [`Reconnecting in ${wait}`, `No connection to the server. Next attempt in ${wait}.`],
    offline: [`Offline, retry in ${wait}`, `You are offline. Next attempt in ${wait}.`],
    replaced: ['Open elsewhere', 'This chat was opened in another tab.'],
    stopped: ['Disconnected', `The server ended the connection${detail ? `: ${detail}` : ''}.`],
  }[state];
  const pill = $('state');
  if (pill.dataset.state !== state) $('announce').textContent = joined ? long.split('. ')[0] || short : '';
  pill.dataset.state = state;
  pill.textContent = short;
  $('banner').hidden = !joined || !long;
  $('banner-text').textContent = long;
  $('reconnect').hidden = !long;
  if (!joined && long) $('join-error').textContent = long;
}
$('reconnect').addEventListener('click', () => connection.reconnect());

// Who is here, and who is typing.

function showMembers() {
  const row = ([u, nick]) => {
    const made = element('li', '', undefined, { testid: 'member', nick });
    const name = element('span', 'name', nick);
    name.dir = 'auto';
    made.append(avatar(nick), name);
    if (connection.isMine(u)) made.append(element('span', 'you', 'you'));
    return made;
  };
  const order = ([u, nick], [v, other]) => connection.isMine(v) - connection.isMine(u) || nick.localeCompare(other);
  $('members').replaceChildren(...[...members].sort(order).map(row));
  $('member-count').textContent = members.size;
}

function showTyping(u, nick) {
  clearTimeout(typists.get(u)?.timer);
  typists.set(u, { nick, timer: setTimeout(() => stopTyping(u), TYPING_SHOWN) });
  drawTyping();
}

function stopTyping(u) {
  clearTimeout(typists.get(u)?.timer);
  if (typists.delete(u)) drawTyping();
}

function drawTyping() {
  const names = [...typists.values()].map(({ nick }) => nick);
  $('typing').textContent = names.length === 0 ? ''
    : names.length === 1 ? `${names[0]} is typing…`
      : names.length === 2 ? `${names[0]} and ${names[1]} are typing…` : 'Several people are typing…';
}

// Writing.

$('say').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = $('composer').value.trim();
  if (!text || !joined) return;
  const message = connection.say(text);
  if (!message) return;
  $('composer').value = '';
  log.waiting({ ...message, u: connection.me, nick: who.nick, at: now() * 1000 });
  $('composer').focus();
});
$('composer').addEventListener('input', () => $('composer').value.trim() && connection.typing());
$('composer').addEventListener('keydown', (event) => {
  if (event.isComposing) return;
  if (event.key === 'Enter' && !event.shiftKey) {
    event.preventDefault();
    $('say').requestSubmit();
  }
});
for (const field of ['composer', 'poll-composer']) {
  $(field).addEventListener('keydown', (event) => {
    if (event.key === 'Escape' && !event.isComposing) event.target.value = '';
  });
}
addEventListener('keydown', (event) => {
  if (event.key !== '/' || event.ctrlKey || event.metaKey || event.altKey || $('join-dialog').open) return;
  if (event.target.matches('input, textarea')) return;
  event.preventDefault();
  view('chat');
  $('composer').focus();
});
$('poll-say').addEventListener('submit', async (event) => {
  event.preventDefault();
  const input = $('poll-composer');
  const text = input.value.trim();
  if (!text || !joined) return;
  input.value = '';
  const failed = await poller.say({ token: who.token, id: crypto.getRandomValues(new Uint32Array(2)).join('-'), text }).catch(() => 'no answer');
  if (failed) {
    input.value ||= text;
    $('poll-state').dataset.state = 'unreachable';
    $('poll-state').textContent = failed;
  }
});

// The rest of the page.

log.unreadChanged = (count) => {
  document.title = `${count ? `(${count}) ` : ''}${who.room ? `#${who.room} · ` : ''}sockmill chat`;
};

$('share').addEventListener('click', async () => {
  const button = $('share');
  try {
    await navigator.clipboard.writeText(location.href);
    button.textContent = 'Copied';
  } catch {
    button.textContent = 'Copy the address';
  }
  setTimeout(() => { button.textContent = 'Copy link'; }, 2_000);
});

function view(name) {
  document.body.dataset.view = name;
  for (const tab of [$('tab-chat'), $('tab-compare')]) {
    const selected = tab.id === `tab-${name}`;
    tab.setAttribute('aria-selected', selected);
    tab.tabIndex = selected ? 0 : -1;
  }
}
for (const name of ['chat', 'compare']) {
  $(`tab-${name}`).addEventListener('click', () => view(name));
  $(`tab-${name}`).addEventListener('keydown', (event) => {
    if (event.key !== 'ArrowLeft' && event.key !== 'ArrowRight') return;
    const other = name === 'chat' ? 'compare' : 'chat';
    view(other);
    $(`tab-${other}`).focus();
  });
}

if (who.token && who.room === (roomOfURL() || who.room)) {
  join(who);
} else {
  who.room = roomOfURL();
  ask();
}
