// Puts the parts together: the client, and what it says of each channel.
import { Client, Failure } from './client.js';
import { Listing } from './listing.js';
import { Log } from './log.js';
import { Tally } from './tally.js';
import { $, draw, plural } from './view.js';

const STORED = 'sockmill-hub'; // {name, token, channels, selected}: this tab only, so that a reload comes back
const EARLIER = 50; // messages from before we came that are shown
const CONFIRM_EVERY = 3_000; // ms
const BURST = 100;
const OUTAGES_KEPT = 20;

const model = {
  channels: new Map(), // name → {name, tally, members: client → user, news, log, unread}
  outages: [], // {since, until, cut, back, missed, recovered}, the newest first
  selected: undefined, // the channel that is shown
  me: undefined, // our user, by the server's word
  state: 'idle',
  until: 0, // the next attempt to connect, ms since 1970; 0: none is planned
  reconnects: 0,
  burst: 0, // messages of a burst that are still to be sent
  nodes: undefined, // of a cluster: {node, nodes, missing, expected}
};
const { channels, outages } = model;
let who = JSON.parse(sessionStorage.getItem(STORED) ?? '{}');
const page = await fetch('page.json').then((response) => response.json()); // {tokens: "none", "paste" or "demo", api, cluster, urls}
let given = {}; // the last token of -demo-tokens

const own = location.origin;
const nodes = [own, ...(page.urls ?? []).filter((url) => url !== own)];
const client = new Client(nodes.map((url) => `${url.replace(/^http/, 'ws')}/connection/websocket`), credentials, {
  state: entered,
  subscribed,
  publication(name, publication) {
    const channel = channels.get(name);
    channel.tally.take(publication.offset);
    show(channel, publication, 'live');
  },
  presence(name, kind, info) {
    const channel = channels.get(name);
    channel.news?.push([kind, info]);
    move(channel, kind, info);
    draw(model);
  },
  refused(name, failure) {
    forget(name);
    $('follow-error').textContent = `#${name}: ${failure.message}`;
  },
});

async function credentials() {
  if (page.tokens === 'none') return { data: { name: who.name } };
  if (page.tokens === 'paste') return { token: who.token };
  const response = await fetch('demo-token', { method: 'POST', body: JSON.stringify({ name: who.name }) }).catch(() => null);
  if (!response) return given; // the node that this page came from is gone; a token is good for all of them
  if (!response.ok) throw new Failure({ code: response.status, message: await response.text(), temporary: response.status >= 500 });
  return given = await response.json();
}

function entered(state, detail) {
  if (model.state === 'connected') {
    outages.unshift({ since: Date.now(), cut: state === 'cut', back: 0, missed: 0 });
    outages.length = Math.min(outages.length, OUTAGES_KEPT);
    $('announce').textContent = state === 'cut' ? 'Your connection is cut.' : 'The connection is lost.';
  }
  model.state = state;
  model.until = state === 'waiting' || state === 'cut' ? detail : 0;
  if (state === 'connected') {
    model.me = detail.data?.user ?? who.name;
    if (outages.length) {
      outages[0].until = Date.now();
      model.reconnects++;
    }
    if ($('join-dialog').open) {
      $('join-dialog').close();
      $('composer').focus();
    }
  }
  if (state === 'connected') askForNodes();
  if (state === 'stopped') ask(`${detail.message}.`);
  draw(model);
}

// Channels.

function follow(name) {
  $('follow-error').textContent = '';
  if (!channels.has(name)) {
    const channel = { name, tally: page.cluster ? new Listing() : new Tally(), asking: false, members: new Map(), news: null, log: new Log(name), unread: 0 };
    channels.set(name, channel);
    $('stage').append(channel.log.root);
    client.follow(name);
  }
  select(name);
}

function forget(name) {
  channels.get(name).log.root.remove();
  channels.delete(name);
  select(model.selected === name ? [...channels.keys()][0] : model.selected);
}

function select(name) {
  model.selected = name;
  const channel = channels.get(name);
  for (const each of channels.values()) each.log.root.hidden = each !== channel;
  if (channel) channel.unread = 0;
  channel?.log.toEnd();
  $('title').textContent = channel ? `#${name}` : 'No channel';
  const body = JSON.stringify({ channel: name, data: { text: 'hello' } }).replaceAll("'", "'\\''");
  $('curl').textContent = `curl -H 'X-API-Key: KEY' \\\n  -d '${body}' \\\n  ${location.origin}/api/publish`;
  who = { ...who, channels: [...channels.keys()], selected: name };
  sessionStorage.setItem(STORED, JSON.stringify(who));
  const hash = `#${who.channels.map(encodeURIComponent).join(',')}`;
  history.replaceState(null, '', hash);
  $('second').href = hash;
  draw(model);
}

/** The reply to subscribe: from now on the channel's publications come. */
function subscribed(name, { recovering, recovered, publications, ...position }) {
  const channel = channels.get(name);
  const first = channel.tally.epoch === undefined;
  const missed = channel.tally.subscribed({ recovering, recovered, publications, ...position });
  const back = publications.length;
  channel.log.quietly(() => {
    if (back) channel.log.divider('recovered', `${plural(back, 'message')} came back · recovered: ${recovered}`);
    for (const publication of publications) show(channel, publication, 'recovered');
    if (missed) channel.log.divider('lost', `${lost(missed, channel.tally)} · recovered: ${recovered}`);
  });
  const [outage] = outages;
  if (outage && !first) {
    outage.back += back;
    outage.missed += missed;
    outage.recovered = recovered && outage.recovered !== false;
    $('announce').textContent = `Connected again. ${plural(outage.back, 'message')} came back. ${outage.missed ? lost(outage.missed, channel.tally) : 'Nothing is missing'}.`;
  }
  if (first) loadEarlier(channel);
  loadMembers(channel);
  confirm(channel);
  draw(model);
}

const lost = (missed, { numbered }) => missed !== Infinity ? `${plural(missed, 'message is', 'messages are')} missing here`
  : `${numbered ? 'The history does not reach back' : 'There is no history'}: nobody knows what is missing here`;

async function loadEarlier({ name, tally, log }) {
  if (!tally.numbered || !tally.joined) return;
  const { publications } = await client.call('history', { channel: name, limit: EARLIER, reverse: true }).catch(() => ({}));
  log.earlier((publications ?? []).filter(({ offset }) => offset <= tally.joined).reverse().map((publication) => message(publication, 'earlier')));
}

/** Asks who is here; who comes and goes meanwhile is not forgotten. */
async function loadMembers(channel) {
  const news = channel.news = [];
  const { presence } = await client.call('presence', { channel: channel.name }).catch(() => ({}));
  if (channel.news !== news) return; // asked again since
  channel.news = null;
  if (!presence) return;
  channel.members.clear();
  for (const info of Object.values(presence)) move(channel, 'join', info);
  for (const [kind, info] of news) move(channel, kind, info);
  draw(model);
}

function move({ members }, kind, { client: id, user = '' }) {
  if (kind === 'join') members.set(id, user);
  else members.delete(id);
}

/** Asks the server where the channel is, apart from what it sends. */
async function confirm(channel) {
  const { name, tally } = channel;
  if (!tally.numbered || channel.asking) return;
  channel.asking = true;
  for (let more = true; more;) {
    more = await client.call('history', { channel: name, ...tally.question })
      .then((answer) => tally.says(answer, Date.now()), (failure) => tally.failed(failure));
  }
  channel.asking = false;
  draw(model);
}

/** Asks who the nodes are. */
async function askForNodes() {
  if (!page.cluster) return;
  const { data } = await client.call('rpc', { method: 'nodes', data: {} }).catch(() => ({}));
  model.nodes = data ?? model.nodes;
  draw(model);
}

// Messages.

function message({ data, info, offset, time }, how) {
  const isText = typeof data?.text === 'string';
  return {
    offset, how, by: info ? info.user || 'nobody' : 'server', own: info?.user === model.me,
    text: isText ? data.text : JSON.stringify(data), isData: !isText, at: time || (how === 'live' ? Date.now() : 0),
  };
}

function show(channel, publication, how) {
  channel.log.add(message(publication, how));
  if (channel.name !== model.selected || document.hidden) channel.unread++;
  draw(model);
}

const publish = (channel, text) => client.call('publish', { channel, data: { text } });

async function say(text) {
  $('say-error').textContent = '';
  $('composer').value = '';
  try {
    await publish(model.selected, text);
  } catch ({ code, message }) {
    $('composer').value ||= text;
    $('say-error').textContent = code ? `Not sent: ${message}.` : 'The connection ended. Look whether your message is here before you send it again.';
  }
}

async function sendMany() {
  const name = model.selected;
  $('say-error').textContent = '';
  for (model.burst = BURST; model.burst > 0; model.burst--) {
    draw(model);
    try {
      await publish(name, `Message ${BURST - model.burst + 1} of ${BURST}`);
    } catch ({ message }) {
      $('say-error').textContent = `Stopped after ${plural(BURST - model.burst, 'message')}: ${message}.`;
      break;
    }
  }
  model.burst = 0;
  draw(model);
}

// Forms and keys.

function ask(error = '') {
  const byToken = page.tokens === 'paste';
  $('by-name').hidden = $('name').disabled = byToken;
  $('by-token').hidden = $('token').disabled = !byToken;
  $('name').value ||= who.name ?? '';
  $('token').value ||= who.token ?? '';
  $('first').value ||= model.selected ?? namesOfURL()[0] ?? 'news';
  $('join-error').textContent = error;
  if (!$('join-dialog').open) $('join-dialog').showModal();
  if (error) $(byToken ? 'token' : 'name').select();
}

function join({ name, token, channels: names, selected }) {
  who = { name, token };
  for (const each of names) follow(each);
  if (channels.has(selected)) select(selected);
  client.connect();
}

const on = (id, kind, f) => $(id).addEventListener(kind, f);
const submitted = (id, f) => on(id, 'submit', (event) => {
  event.preventDefault();
  f();
});
const channelIn = (id) => $(id).value.trim().replace(/^#/, '');

submitted('join', () => {
  $('join-error').textContent = '';
  const selected = channelIn('first');
  join({ name: $('name').value.trim(), token: $('token').value.trim(), channels: new Set([selected, ...namesOfURL()]), selected });
});
on('join-dialog', 'cancel', (event) => event.preventDefault());
submitted('follow', () => {
  const name = channelIn('channel');
  if (name) follow(name);
  $('channel').value = '';
});
on('channels', 'click', ({ target }) => {
  const name = target.closest('li')?.dataset.channel;
  if (target.closest('.open')) select(name);
  if (!target.closest('.close')) return;
  client.unfollow(name);
  forget(name);
  $('channel').focus();
});
submitted('cut', () => {
  client.cut($('cut-for').value * 1000);
  $('banner').hidden = false;
  $('reconnect').focus();
});
on('reconnect', 'click', () => {
  client.connect();
  $('composer').focus();
});
submitted('say', () => {
  const text = $('composer').value.trim();
  if (text && model.selected) say(text);
});
on('burst', 'click', sendMany);
on('leave', 'click', () => {
  sessionStorage.setItem(STORED, JSON.stringify({ name: who.name }));
  location.reload();
});
addEventListener('visibilitychange', () => !document.hidden && select(model.selected));
addEventListener('keydown', (event) => {
  if ($('join-dialog').open) return;
  if (event.altKey && (event.key === 'ArrowUp' || event.key === 'ArrowDown')) {
    const names = [...channels.keys()];
    const next = names[names.indexOf(model.selected) + (event.key === 'ArrowUp' ? -1 : 1)];
    if (next) select(next);
  } else if (event.key === '/' && !event.ctrlKey && !event.metaKey && !event.target.matches('input, textarea')) {
    $('composer').focus();
  } else {
    return;
  }
  event.preventDefault();
});

function namesOfURL() {
  try {
    return location.hash.slice(1).split(',').map(decodeURIComponent).filter(Boolean);
  } catch {
    return [];
  }
}

if (matchMedia('(width < 900px)').matches) $('more').open = false;
$('why-numbers').hidden = Boolean(page.cluster);
$('why-list').hidden = !page.cluster;
$('api').hidden = !page.api;
const names = namesOfURL();
if (who.channels?.length && (page.tokens === 'paste' ? who.token : who.name)) join({ ...who, channels: names.length ? names : who.channels });
else ask();
setInterval(() => model.until && draw(model), 250);
setInterval(() => {
  if (model.state !== 'connected') return;
  askForNodes();
  for (const channel of channels.values()) if (channel.tally.epoch !== undefined) confirm(channel);
}, CONFIRM_EVERY);
