// The page: which view is shown, its data again every few seconds, and what to do when the server does not answer.
import { Failure, get } from './api.js';
import { view as connection } from './connection.js';
import { view as connections } from './connections.js';
import { $, attribute, put } from './dom.js';
import { channels, people } from './names.js';
import { view as overview } from './overview.js';
import { ask, leave } from './session.js';
import { view as settings } from './settings.js';

const EVERY = 2000; // ms from an answer to the next question
const SHARE = 5; // of the time, a server may at most be busy with a page for one in so many
const EVERY_MAX = 5000; // ms, however busy
const AGAIN_MAX = 15_000; // ms to wait at most when there is no answer

const views = Object.fromEntries([overview, connections, connection, channels, people, settings].map((view) => [view.name, view]));

let view = null;
let params = {};
let asking = null; // AbortController of the question under way
let timer = 0;
let misses = 0; // questions in a row without an answer
let until = 0; // the next attempt
let held = false;
let learnt = false; // whether there is something to sign out of

/** "#/connection/7", "#/connections?sort=age&offset=50". */
function route() {
  const [path, search = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const [name, id] = path.split('/');
  return { to: views[name] ?? overview, given: { ...Object.fromEntries(new URLSearchParams(search)), ...(id && { id: decodeURIComponent(id) }) } };
}

/** Changes parameters of the view that is shown. A new page of a list can be left with the browser's Back. */
function go(changes) {
  const search = new URLSearchParams(Object.entries({ ...params, ...changes }).filter(([, value]) => value !== '' && value !== 0));
  const hash = `#/${view.name}${search.size ? `?${search}` : ''}`;
  if ('offset' in changes && Object.keys(changes).length === 1) history.pushState(null, '', hash);
  else history.replaceState(null, '', hash);
  turn();
}

/** Shows what the address says. */
function turn() {
  const { to, given } = route();
  const other = to !== view;
  if (other) view?.end?.();
  view = to;
  params = given;
  view.begin?.(given, go, refresh);
  const section = view.section ?? view.name;
  for (const each of document.querySelectorAll('.view')) each.hidden = each.id !== section;
  $('failed').hidden = true;
  const tab = view === connection ? 'connections' : view.name;
  for (const link of document.querySelectorAll('nav[aria-label=Views] a')) attribute(link, 'aria-current', link.hash === `#/${tab}` ? 'page' : null);
  document.title = `${view.title} · sockmill admin`;
  if (other) scrollTo(0, 0);
  refresh();
}

/** Asks for the data of the view now. */
async function refresh() {
  clearTimeout(timer);
  asking?.abort();
  const { signal } = asking = new AbortController();
  const [of, given, began] = [view, params, performance.now()];
  const data = of.load(given, signal).catch((failure) => failure);
  try {
    const status = await get('api/status', {}, signal);
    const got = await data;
    if (signal.aborted) return;
    drawFrame(status);
    answered();
    if (!(got instanceof Error)) of.draw(got, status, given);
    else if (!of.gone?.(got, status)) throw got;
    $('failed').hidden = true;
  } catch (failure) {
    if (failure.name === 'AbortError' || signal.aborted) return;
    if (!(failure instanceof Failure)) throw failure;
    if (failed(failure)) return;
  }
  document.body.dataset.drawn = of.name;
  document.dispatchEvent(new Event('drawn'));
  const pause = misses ? until - Date.now() : Math.min(EVERY_MAX, Math.max(EVERY, SHARE * (performance.now() - began)));
  timer = setTimeout(() => (misses || !(held || document.hidden) ? refresh() : 0), pause);
}

/** What every view has around it. */
function drawFrame({ process, health, hub, rights, drain }) {
  put($('command'), process.command);
  put($('on'), `on ${process.host}`);
  const [state, text] = stateOf(health, drain);
  $('state').dataset.state = state;
  put($('state'), text);
  for (const link of document.querySelectorAll('[data-hub]')) link.hidden = !hub;
  document.body.dataset.rights = rights.change ? 'change' : 'read';
}

function stateOf({ live, ready }, drain) {
  if (!live.ok) return ['bad', 'Not live'];
  if (drain) return ['warn', 'Draining'];
  return ready.ok ? ['good', 'Live and ready'] : ['warn', 'Not ready'];
}

function answered() {
  if (misses) put($('announce'), 'The server answers again.');
  misses = 0;
  $('banner').hidden = true;
  document.body.classList.remove('stale');
  if (!learnt) learn();
}

async function learn() {
  learnt = true;
  const { tokenNeeded } = await get('api/session').catch(() => ({ tokenNeeded: false }));
  $('sign').hidden = !tokenNeeded;
}

/** Returns whether nothing is to be asked for until somebody has signed in. */
function failed(failure) {
  if (failure.status === 401) {
    $('state').dataset.state = 'loading';
    put($('state'), 'Signed out');
    ask(refresh);
    return true;
  }
  if (failure.status > 0 && failure.status < 500) {
    answered();
    put($('failed'), `${failure.message} (status ${failure.status})`);
    $('failed').hidden = false;
    return false;
  }
  const wait = Math.min(AGAIN_MAX, 1000 * 2 ** misses++);
  until = Date.now() + wait;
  if (misses === 1) put($('announce'), failure.message);
  document.body.classList.add('stale');
  $('state').dataset.state = 'bad';
  put($('state'), 'No answer');
  $('banner').dataset.why = failure.message;
  countDown();
  return false;
}

function countDown() {
  if (!misses) return;
  const left = Math.max(0, Math.ceil((until - Date.now()) / 1000));
  put($('banner-text'), `${$('banner').dataset.why} What you see is old. ${left ? `Next attempt in ${left} s.` : 'Trying again…'}`);
  $('banner').hidden = false;
  if (left) setTimeout(countDown, 250);
}

addEventListener('hashchange', turn);
document.addEventListener('visibilitychange', () => document.hidden || held || refresh());
$('again').addEventListener('click', refresh);
$('hold').addEventListener('click', () => {
  held = !held;
  attribute($('hold'), 'aria-pressed', String(held));
  if (!held) refresh();
});
$('sign').addEventListener('click', async () => {
  await leave().catch(() => {});
  refresh();
});
$('skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('main').focus();
});
turn();
