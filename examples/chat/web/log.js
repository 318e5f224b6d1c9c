// What was said, as elements. Text enters by textContent alone.

const KEPT = 500; // elements per log
const GROUP_WITHIN = 5 * 60e6; // microseconds
const NEAR_END = 48; // pixels

export function element(tag, className, text, data = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  Object.assign(made.dataset, data);
  return made;
}

/** A round initial whose colour depends on the name. */
export function avatar(nick) {
  const made = element('span', 'avatar', [...nick][0].toUpperCase());
  let hash = 0;
  for (const character of nick.toLowerCase()) hash = (hash * 31 + character.codePointAt(0)) % 9973;
  made.style.setProperty('--hue', (hash * 137) % 360); // near hashes, far colours
  made.setAttribute('aria-hidden', 'true');
  return made;
}

const clockText = (micros) =>
  new Date(micros / 1000).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

const STATUS = { sending: 'sending', sent: 'acknowledged by the server', delivered: 'delivered to the room', failed: 'not sent' };

/** message: {u, nick, at, id, text} and o once it is known. */
function bubble(message, own, testid) {
  const made = element('article', own ? 'message own' : 'message', undefined, {
    testid, id: message.id, nick: message.nick, own, u: message.u, at: message.at,
  });
  if (message.o) made.dataset.offset = message.o;
  const head = element('p', 'by');
  const time = element('time', '', clockText(message.at));
  const date = new Date(message.at / 1000);
  time.dateTime = date.toISOString();
  time.title = date.toLocaleString();
  const name = element('b', '', message.nick);
  name.dir = 'auto';
  head.append(name, ' ', time);
  const text = element('p', 'text', message.text, { testid: `${testid}-text` });
  text.dir = 'auto';
  made.append(avatar(message.nick), head, text);
  return made;
}

/** A scrolling log that follows its end while the reader is there. */
export class Log {
  #root; #testid; #unreadButton; #marker;
  #waiting = new Map(); // own messages not yet in the room's order, by id
  #unread = 0;
  #following = true;
  unreadChanged = () => {};

  constructor(root, testid, unreadButton) {
    this.#root = root;
    this.#testid = testid;
    this.#unreadButton = unreadButton;
    root.addEventListener('scroll', () => this.#seen(), { passive: true });
    document.addEventListener('visibilitychange', () => this.#seen());
    new ResizeObserver(() => this.#following && this.toEnd()).observe(root);
    unreadButton?.addEventListener('click', () => this.toEnd());
  }

  toEnd() {
    this.#root.scrollTop = this.#root.scrollHeight;
    this.#seen();
  }

  /** A message in the room's order; of our own there may be a bubble that waits for it. */
  message(message, own, live) {
    const waiting = own && this.#waiting.get(message.id);
    if (waiting) {
      this.#waiting.delete(message.id);
      waiting.dataset.offset = message.o;
      this.#mark(waiting, 'delivered');
      return; // it stands right: others were inserted above it, and ours are answered in order
    }
    const made = bubble(message, own, this.#testid);
    if (own) this.#mark(made, 'delivered');
    if (live && !own && (!this.#following || document.hidden)) this.#count();
    this.#insert(made, this.#firstWaiting());
  }

  /** Our own message, shown at the end until the room has given it an offset. */
  waiting(message) {
    const made = bubble(message, true, this.#testid);
    this.#waiting.set(message.id, made);
    this.#mark(made, 'sending');
    this.#insert(made, null);
    this.toEnd();
  }

  status(id, status, reason) {
    const made = this.#waiting.get(id);
    if (!made) return;
    this.#mark(made, status, reason);
    if (status === 'failed') this.#waiting.delete(id);
  }

  note(kind, text) {
    this.#insert(element('p', 'note', text, { testid: 'note', kind }), this.#firstWaiting());
  }

  lost() {
    for (const [id, made] of this.#waiting) {
      if (made.dataset.status === 'sent') this.#waiting.delete(id); // its echo will never come
    }
    this.#insert(element('p', 'divider lost', 'History lost: messages may be missing here', { testid: 'history-lost' }), this.#firstWaiting());
  }

  /** Runs insert without announcing each message to a screen reader. */
  quietly(insert) {
    this.#root.setAttribute('aria-busy', 'true');
    insert();
    this.#root.removeAttribute('aria-busy');
  }

  #firstWaiting() {
    return this.#waiting.values().next().value ?? null;
  }

  #insert(made, before) {
    const following = this.#following;
    this.#root.insertBefore(made, before);
    while (this.#root.children.length > KEPT) this.#root.firstElementChild.remove();
    for (const each of [made, made.nextElementSibling]) each?.classList.toggle('more', this.#continues(each));
    if (following) this.toEnd();
    else this.#seen();
  }

  #continues({ dataset: mine, previousElementSibling: previous }) {
    return Boolean(mine.u) && previous?.dataset.u === mine.u && mine.at - previous.dataset.at < GROUP_WITHIN;
  }

  #mark(made, status, reason) {
    made.dataset.status = status;
    let tick = made.querySelector('.tick');
    if (!tick) {
      tick = element('span', 'tick');
      tick.setAttribute('role', 'img');
      made.append(tick);
    }
    tick.setAttribute('aria-label', reason ?? STATUS[status]);
    tick.title = reason ?? STATUS[status];
    if (reason) made.append(element('p', 'error', reason));
  }

  #count() {
    if (!this.#unread) {
      this.#marker ??= element('p', 'divider new', 'New', { testid: 'new-marker' });
      this.#insert(this.#marker, this.#firstWaiting());
    }
    this.#unread++;
  }

  #seen() {
    const { scrollHeight, scrollTop, clientHeight } = this.#root;
    this.#following = scrollHeight - scrollTop - clientHeight < NEAR_END;
    if (this.#following && !document.hidden) this.#unread = 0;
    this.unreadChanged(this.#unread);
    if (!this.#unreadButton) return;
    this.#unreadButton.hidden = this.#following;
    this.#unreadButton.textContent = this.#unread ? `${this.#unread} new` : 'Newest';
  }
}
