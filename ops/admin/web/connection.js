// One connection: what it is, what it does, and what an operator can do with it.
import { change, Failure, get } from './api.js';
import { address, chips, drawChips } from './connections.js';
import { $, facts, put } from './dom.js';
import { bytes, number, span } from './format.js';
import { Tail } from './tail.js';

const path = (id, what) => `api/connections/${encodeURIComponent(id)}${what ? `/${what}` : ''}`;

const tail = new Tail((payload) => `${path(id, 'frames')}${payload ? '?payload=1' : ''}`);
let id = '';
let refresh = () => {};
let busy = false;
let shown = null;
let mayChange = false;

function drawFacts(c) {
  facts($('traffic'), [
    ['Age', span(c.ageMs / 1000)], ['Received', bytes(c.bytesIn)], ['Sent', bytes(c.bytesOut)],
    ['Messages in', number(c.messagesIn)], ['Messages out', number(c.messagesOut)],
    ['Queued', bytes(c.queuedBytes)], ['The kernel takes more', c.congested ? 'no' : 'yes'],
    ['Dropped', number(c.dropped)], ['Replaced', number(c.replaced)], ['Paused for a rate limit', number(c.rateLimited)],
    ['Reading', c.paused.length ? `paused: ${c.paused.join(', ')}` : 'goes on'], ['Ping', c.pingUnanswered ? 'not answered yet' : 'none waits'],
  ]);
  const some = (names, count) => (names?.length ? `${names.join(', ')}${count > names.length ? ` and ${number(count - names.length)} more` : ''}` : '');
  facts($('who'), [
    ['Number', `#${c.id}`], ['User', c.user], ['Client', c.client], ['Peer', c.remote], ['This end', c.local], ['Listener', c.listener], ['Loop', number(c.loop)],
    ['Came by', { accepted: 'accept', mounted: 'net/http', dialled: 'Dial' }[c.origin] ?? c.origin], ['Protocol', c.protocol], ['Subprotocol', c.subprotocol],
    ['TLS', c.tls ? [c.tlsVersion, c.tlsCipher].filter(Boolean).join(', ') : 'none'], ['Server name', c.tlsServerName], ['Compression', c.compression || 'none'], ['Handler', c.handler], ['State', c.state],
    ['Hub client', c.hubClient], ['Channels', some(c.channels, 0)], ['Topics', some(c.topicNames, c.topics)],
  ]);
}

function drawActions() {
  const there = shown !== null;
  const paused = shown?.paused.includes('operator');
  put($('pause'), paused ? 'Resume reading' : 'Pause reading');
  $('pause').disabled = !there || !mayChange || busy;
  $('close').disabled = !there || !mayChange || busy;
  $('tail-payload').disabled = !mayChange;
  tail.may(there);
  const why = 'You may only look. Sign in with a token that may change things.';
  put($('no-change'), mayChange ? '' : why);
  put($('no-payload'), mayChange ? '' : 'Needs the right to change.');
}

function draw(c, { rights }) {
  mayChange = rights.change;
  shown = c;
  $('ended').hidden = true;
  $('detail').classList.remove('stale');
  put($('peer'), address(c));
  drawChips($('chips'), chips(c));
  drawFacts(c);
  drawActions();
}

/** It has ended: what is known of it stays, and nothing can be done any more. */
function gone(failure) {
  if (failure.status !== 404) return false;
  put($('ended'), shown ? 'This connection has ended. What you see is how it was when it was last looked at.' : `There is no connection #${id}: it has ended, or never was.`);
  $('ended').hidden = false;
  $('detail').classList.add('stale');
  $('detail').hidden = !shown;
  if (!shown) put($('peer'), `#${id}`);
  shown = null;
  drawChips($('chips'), [{ text: 'ended', kind: 'soft' }]);
  drawActions();
  return true;
}

async function act(what, body) {
  busy = true;
  put($('action-error'), '');
  drawActions();
  try {
    await change(path(id, what), body);
    return '';
  } catch (failure) {
    if (!(failure instanceof Failure)) throw failure;
    return failure.message;
  } finally {
    busy = false;
    drawActions();
    refresh();
  }
}

export const view = {
  name: 'connection',
  title: 'Connection',
  begin(params, _, again) {
    refresh = again;
    if (params.id === id) return;
    id = params.id;
    shown = null;
    tail.reset();
    $('close-dialog').close(); // it asks about another connection
    $('detail').hidden = false;
    $('ended').hidden = true;
    put($('peer'), `#${id}`);
    put($('action-error'), '');
    for (const list of ['traffic', 'who']) facts($(list), []);
    drawChips($('chips'), []);
    drawActions();
  },
  end() {
    tail.stop('Stopped');
    $('close-dialog').close();
  },
  load: (_, signal) => (shown === null && !$('ended').hidden ? Promise.reject(new Failure(404, '')) : get(path(id), {}, signal)),
  draw,
  gone,
};

$('pause').addEventListener('click', async () => {
  put($('action-error'), await act(shown.paused.includes('operator') ? 'resume' : 'pause'));
});

$('close').addEventListener('click', () => {
  put($('close-error'), '');
  put($('close-who'), `${address(shown)}${shown.user ? `, ${shown.user}` : ''}, #${id}`);
  $('close-dialog').showModal();
  $('close-not').focus(); // what does no harm
});
$('close-not').addEventListener('click', () => $('close-dialog').close());
$('abort').addEventListener('change', () => {
  for (const field of ['code', 'reason']) $(field).disabled = $('abort').checked;
});
$('close-form').addEventListener('submit', async (event) => {
  event.preventDefault();
  const reason = $('reason').value;
  if (new TextEncoder().encode(reason).length > 123) {
    put($('close-error'), 'The reason may have 123 bytes at most. Make it shorter.');
    return;
  }
  const error = await act('close', $('abort').checked ? { abort: true } : { code: Number($('code').value), reason });
  put($('close-error'), error);
  if (!error) $('close-dialog').close();
});
