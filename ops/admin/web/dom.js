// Elements. Text that came from peers gets onto the page as text, never as markup: nothing here parses HTML.

export const $ = (id) => document.getElementById(id);

// Control characters, and those that turn the direction of the text around them.
const unseen = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** The text with what cannot be seen in it written out: "\\u202e". So a peer cannot make a name look like another one. */
export const visible = (text) => text.replace(unseen, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

/** Makes an element. props are attributes, but for class, text and data ({name: value}); undefined, null and false leave one out. */
export function element(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'class') made.className = value;
    else if (name === 'text') made.textContent = visible(value);
    else if (name === 'data') Object.assign(made.dataset, value);
    else made.setAttribute(name, value === true ? '' : value);
  }
  made.append(...children);
  return made;
}

/** Changes a text only if it is another one: what has not changed keeps its place and its selection. */
export function put(node, text) {
  const shown = visible(text);
  if (node.textContent !== shown) node.textContent = shown;
}

/** Sets an attribute, or takes it away with null. */
export function attribute(node, name, value) {
  if (value === null) node.removeAttribute(name);
  else if (node.getAttribute(name) !== value) node.setAttribute(name, value);
}

const kept = new WeakMap(); // parent → its children by key

/**
 * Makes the children of parent those of items, in their order. An item of the same key keeps its child: it may have the focus, or a
 * finger on it.
 */
export function fill(parent, items, keyOf, make, update) {
  const old = kept.get(parent) ?? new Map();
  const now = new Map();
  for (const item of items) {
    const key = String(keyOf(item));
    now.set(key, old.get(key) ?? make(item));
  }
  for (const [key, child] of old) if (!now.has(key)) child.remove();
  let at = parent.firstElementChild;
  for (const item of items) {
    const child = now.get(String(keyOf(item)));
    update(child, item);
    if (child === at) at = at.nextElementSibling;
    else parent.insertBefore(child, at);
  }
  kept.set(parent, now);
}

/** A list of facts: pairs of a name and a text. A text that is empty leaves its pair out. */
export function facts(list, pairs) {
  fill(list, pairs.filter(([, text]) => text !== '' && text !== undefined && text !== null), ([name]) => name,
    ([name]) => element('div', {}, element('dt', { text: name }), element('dd', { dir: 'auto' })),
    (row, [, text]) => put(row.lastElementChild, String(text)));
}

const svg = (tag) => document.createElementNS('http://www.w3.org/2000/svg', tag);

/** A line of the last values, without axes: whether it rises or falls. The figure beside it says the number. */
export class Sparkline {
  #values = [];
  #line = svg('polyline');

  constructor(length = 60) {
    this.length = length;
    this.node = svg('svg');
    this.node.setAttribute('viewBox', '0 0 100 24');
    this.node.setAttribute('preserveAspectRatio', 'none');
    this.node.setAttribute('aria-hidden', 'true');
    this.node.setAttribute('class', 'spark');
    this.#line.setAttribute('vector-effect', 'non-scaling-stroke');
    this.node.append(this.#line);
  }

  add(value) {
    this.#values.push(value);
    if (this.#values.length > this.length) this.#values.shift();
    if (this.#values.length < 2) return;
    const top = Math.max(...this.#values, 1e-9);
    const step = 100 / (this.length - 1);
    const from = 100 - step * (this.#values.length - 1);
    this.#line.setAttribute('points', this.#values.map((v, i) => `${(from + i * step).toFixed(1)},${(22 - v / top * 20).toFixed(1)}`).join(' '));
  }
}
