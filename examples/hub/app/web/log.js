// The messages of one channel, as elements. What others have written enters by textContent alone.

const KEPT = 500; // elements in a log
const NEAR_END = 48; // pixels

export function element(tag, className, text, data = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(data)) if (value !== undefined) made.dataset[name] = value;
  return made;
}

/** A round initial whose colour depends on the name. */
export function avatar(name) {
  const made = element('span', 'avatar', ([...name][0] ?? '?').toUpperCase());
  let hash = 0;
  for (const character of name) hash = (hash * 31 + character.codePointAt(0)) % 9973;
  made.style.setProperty('--hue', (hash * 137) % 360);
  made.setAttribute('aria-hidden', 'true');
  return made;
}

export const clock = (ms) => new Date(ms).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', second: '2-digit' });

/** One message. */
function bubble({ offset, by, text, isData, at, own, how }) {
  const made = element('article', own ? 'message own' : 'message', undefined, { testid: 'message', offset, how, by });
  const head = element('p', 'by');
  const name = element('b', '', by);
  name.dir = 'auto';
  head.append(name);
  if (at) {
    const time = element('time', '', clock(at));
    time.dateTime = new Date(at).toISOString();
    head.append(' ', time);
  }
  const number = element('span', 'offset', offset ? `#${offset}` : '', { testid: 'offset' });
  number.title = 'The number of this message in its channel, by the server';
  const body = element(isData ? 'code' : 'p', 'text', text, { testid: 'message-text' });
  body.dir = 'auto';
  made.append(avatar(by), head, number, body);
  return made;
}

// One after another by the same author are shown as a group.
function group(made) {
  const previous = made.previousElementSibling;
  made.classList.toggle('more', made.matches('.message') && previous.matches('.message') && previous.dataset.by === made.dataset.by);
}

/** A scrolling log that follows its end while the reader is there. */
export class Log {
  root;
  #following = true;

  constructor(channel) {
    this.root = element('div', 'log', undefined, { testid: 'log', channel });
    this.root.setAttribute('role', 'log');
    this.root.setAttribute('aria-label', `Messages of ${channel}`);
    this.root.tabIndex = 0;
    this.root.append(element('p', 'empty', 'Nothing has been said here yet. Write something, or open a second window.'));
    this.root.addEventListener('scroll', () => this.#look(), { passive: true });
    new ResizeObserver(() => this.#following && this.toEnd()).observe(this.root);
  }

  toEnd() { this.root.scrollTop = this.root.scrollHeight; }

  /** how: "live", "recovered" or "earlier". */
  add(message) { this.#insert(bubble(message)); }

  /** What was there before all that is here. */
  earlier(messages) {
    if (!messages.length) return;
    const list = messages.map(bubble);
    list.push(element('p', 'divider earlier', 'You joined here', { testid: 'divider', kind: 'earlier' }));
    this.quietly(() => {
      this.root.querySelector('.empty').after(...list);
      for (const made of list) group(made);
    });
  }

  /** kind: "earlier", "recovered" or "lost". */
  divider(kind, text) { this.#insert(element('p', `divider ${kind}`, text, { testid: 'divider', kind })); }

  /** Runs insert without announcing each element to a screen reader. */
  quietly(insert) {
    this.root.setAttribute('aria-busy', 'true');
    insert();
    this.root.removeAttribute('aria-busy');
    if (this.#following) this.toEnd();
  }

  #insert(made) {
    this.root.append(made);
    group(made);
    while (this.root.children.length > KEPT) this.root.children[1].remove(); // the first says that there is nothing
    if (this.#following && !this.root.ariaBusy) this.toEnd();
  }

  #look() {
    const { scrollHeight, scrollTop, clientHeight } = this.root;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
  }
}
