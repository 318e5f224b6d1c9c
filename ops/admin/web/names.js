// Channels and users of the hub: the names, a page at a time, and how many clients each has.
import { get } from './api.js';
import { $, attribute, element, put } from './dom.js';
import { number } from './format.js';
import { Table } from './table.js';

const LIMIT = 100;
const TYPING = 250; // ms after the last key until the search begins

let users = false; // are shown, not channels

/** A user leads to the connections that are theirs. */
function drawName(cell, { name }) {
  if (!users) {
    put(cell, name);
    return;
  }
  if (!cell.firstElementChild) cell.replaceChildren(element('a'));
  put(cell.firstElementChild, name);
  attribute(cell.firstElementChild, 'href', `#/connections?${new URLSearchParams({ q: name })}`);
}

const list = new Table($('names-list'), [
  { label: 'Name', name: 'name', draw: drawName, title: ({ name }) => name },
  { label: 'Clients', n: true, text: ({ clients }) => number(clients) },
], ({ name }) => name);

let go = () => {};
let last = '';
let typing = 0;
let shown = '';

const names = (name, title, one) => ({
  name,
  title,
  section: 'names',
  begin(params, change) {
    go = change;
    users = name === 'users';
    if (shown !== name) list.draw([]);
    shown = name;
    put($('names-title'), title);
    $('names-filter').hidden = name !== 'channels';
    if (document.activeElement !== $('pattern')) $('pattern').value = params.pattern ?? '';
  },
  load: ({ after = '', pattern = '' }, signal) => get(`api/${name}`, { after, limit: LIMIT, ...(name === 'channels' && { pattern }) }, signal),
  draw({ items, more, missing }, { hub }, params) {
    put($('names-found'), hub ? `${number(hub[name])} on this node` : '');
    list.draw(items);
    last = items.at(-1)?.name ?? '';
    $('names-first').disabled = !params.after;
    $('names-next').disabled = !more;
    $('names-missing').hidden = !missing.length;
    put($('names-missing'), `Not complete: ${missing.join(', ')} did not answer.`);
    $('names-empty').hidden = items.length > 0;
    put($('names-empty'), params.pattern || params.after ? `No ${one} matches.` : `There is no ${one} now.`);
  },
});

export const channels = names('channels', 'Channels', 'channel');
export const people = names('users', 'Users', 'user');

$('names-filter').addEventListener('submit', (event) => event.preventDefault());
$('pattern').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => go({ pattern: $('pattern').value, after: '' }), TYPING);
});
$('names-first').addEventListener('click', () => go({ after: '' }));
$('names-next').addEventListener('click', () => go({ after: last }));
