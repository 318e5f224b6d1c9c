// What has come of one channel of a cluster, beside what there is by the server's word.
//
// In a cluster, the number of a message is its place in a log that many channels share. So the numbers of a channel rise, but not by one, and
// their difference says nothing. In place of it, the server is asked for a list of what the history has behind the place up to which it
// was asked before. A number on that list that has not come is missing, or on its way. The interface is that of a Tally.

const UNRECOVERABLE = 112;
const LIST = 1000; // messages that are asked for at once

export class Listing {
  epoch; // undefined: not joined yet
  joined = 0;
  last = 0; // all up to here has come, or never will
  top = 0; // the highest number that the server has named
  received = 0;
  recovered = 0; // of these, after a reconnect
  twice = 0; // came although they were not new; there must be none
  unknown = false; // the history no longer has what there may have been
  confirmed = 0; // when the server was last asked, ms since 1970
  #asked = 0; // up to here the list is known; null: nobody can tell any more, and it begins anew
  #listed = 0; // messages on the list, and those without a number
  #early = new Set(); // numbers that have come and are not on the list yet
  #owed = new Set(); // numbers that are on the list and have not come
  #lost = 0; // of earlier epochs

  get of() { return this.#listed + this.#early.size; }
  get missed() { return this.#lost + this.#owed.size - this.coming; }
  get coming() { return [...this.#owed].filter((n) => n > this.last).length; }
  get numbered() { return this.epoch !== ''; }
  get broken() { return this.missed > 0 || this.twice > 0 || this.unknown; }

  /** The reply to subscribe. Returns 0, or Infinity if what is missing is not known, or not yet. */
  subscribed({ epoch, offset, publications, recovering, recovered }) {
    const again = this.epoch !== undefined;
    const anew = !recovering || epoch !== this.epoch;
    if (anew) {
      this.unknown ||= again;
      this.#listed += this.#early.size;
      this.#early.clear();
      this.#lost += this.#owed.size;
      this.#owed.clear();
      this.joined = this.last = this.top = this.#asked = offset;
      this.epoch = epoch;
    }
    for (const publication of publications) this.take(publication.offset);
    this.recovered += publications.length;
    this.last = Math.max(this.last, offset); // what is not here by now is not sent any more
    this.top = Math.max(this.top, this.last);
    return again && !recovered ? Infinity : 0;
  }

  /** A publication has come. Without a number, the channel has no positions: it is counted, and nothing is proven. */
  take(offset) {
    if (offset <= this.last) {
      this.twice++;
      return;
    }
    this.received++;
    if (!offset) {
      this.#listed++;
      return;
    }
    this.last = offset;
    this.top = Math.max(this.top, offset);
    if (!this.#owed.delete(offset)) this.#early.add(offset);
  }

  /** What to ask the history. */
  get question() {
    return this.#asked === null ? { limit: 0 } : { limit: LIST, since: { epoch: this.epoch, offset: this.#asked } };
  }

  /** Its answer. Returns whether to ask for more. */
  says({ epoch = '', offset = 0, publications = [] }, now) {
    if (epoch !== this.epoch) {
      this.unknown = true; // until the next reply to subscribe
      return false;
    }
    for (const { offset: n } of publications) {
      this.#listed++;
      if (!this.#early.delete(n)) this.#owed.add(n);
    }
    this.#asked = publications.at(-1)?.offset ?? Math.max(this.#asked ?? 0, offset);
    for (const n of this.#early) { // the list has passed it: it came, and the history was told to forget it
      if (n > this.#asked) break;
      this.#early.delete(n);
      this.#listed++;
    }
    this.top = Math.max(this.top, offset);
    this.confirmed = now;
    return this.#asked < offset;
  }

  /** It does not answer. Returns whether to ask something else. */
  failed({ code }) {
    if (code !== UNRECOVERABLE || this.#asked === null) return false;
    this.unknown = true;
    this.#asked = null;
    return true;
  }
}
