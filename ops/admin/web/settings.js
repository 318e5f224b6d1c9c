// The configuration as it is in force.
import { get } from './api.js';
import { $, element, fill, put } from './dom.js';
import { plural } from './format.js';
import { Table } from './table.js';

const tables = new Map(); // title → its table
let answer = null;

function group({ title }) {
  const table = element('table', { 'aria-label': title, class: 'settings' });
  tables.set(title, new Table(table, [
    { label: 'Setting', name: 'setting', text: ({ name }) => name },
    { label: 'Value', name: 'value', text: ({ value }) => value },
  ], ({ name }) => name));
  return element('section', { class: 'card', 'aria-label': title }, element('h2', { text: title, dir: 'auto' }), element('p', { class: 'hint' }), table);
}

function draw() {
  if (!answer) return;
  const q = $('setting').value.trim().toLowerCase();
  const matches = ({ name, value }) => `${name} ${value}`.toLowerCase().includes(q);
  const groups = [
    { title: 'Engine', settings: answer.engine },
    ...answer.listeners.map(({ name, settings }) => ({ title: name, settings, note: settings.length ? 'What is other than in the engine:' : 'All is as in the engine.' })),
  ].map((g) => ({ ...g, found: g.settings.filter(matches) })).filter(({ found, settings }) => found.length || (!q && !settings.length));
  fill($('groups'), groups, ({ title }) => title, group, (section, { title, found, note = '' }) => {
    const [, hint, table] = section.children;
    put(hint, note);
    table.hidden = !found.length;
    tables.get(title).draw(found);
  });
  const n = groups.reduce((sum, { found }) => sum + found.length, 0);
  put($('config-found'), plural(n, 'setting'));
  $('config-empty').hidden = groups.length > 0;
  put($('config-empty'), 'No setting matches. Search for less.');
}

export const view = {
  name: 'config',
  title: 'Configuration',
  load: (_, signal) => get('api/config', {}, signal),
  draw(fresh) { answer = fresh; draw(); },
};

$('config-filter').addEventListener('submit', (event) => event.preventDefault());
$('setting').addEventListener('input', draw);
