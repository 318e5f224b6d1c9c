// What has come of one channel, beside what there is by the server's word.
//
// The server numbers the publications of a channel 1, 2, 3 … within an epoch (one life of its history). So
// two figures come from two sources: "of" is a difference of the server's numbers, "received" is counted here,
// one for each publication that came. They are the same only if nothing is missing and nothing came twice.

export class Tally {
  epoch; // undefined: not joined yet
  joined = 0; // the offset at which we joined this epoch; what follows it is counted
  last = 0; // all up to here has come, or never will
  top = 0; // the highest offset that the server has named
  received = 0;
  recovered = 0; // of these, after a reconnect
  twice = 0; // came although they were not new; there must be none
  unknown = false; // an epoch has ended while we were away: what it had at the end nobody knows
  confirmed = 0; // when the server was last asked for its position, ms since 1970
  #before = 0; // publications of earlier epochs

  /** All that the server has published since we joined, as far as it is known. */
  get of() { return this.#before + this.top - this.joined; }
  get missed() { return this.#before + this.last - this.joined - this.received; }
  /** Published, but not here yet. */
  get coming() { return this.top - this.last; }
  /** Whether the server numbers what it publishes here; it does where there is a history. */
  get numbered() { return this.epoch !== ''; }
  get broken() { return this.missed > 0 || this.twice > 0 || this.unknown; }

  /** The reply to subscribe. Returns how many publications are missing because of it; Infinity: nobody knows. */
  subscribed({ epoch, offset, publications, recovering }) {
    const before = this.missed;
    const broken = this.epoch !== undefined && !(recovering && epoch === this.epoch);
    if (broken) {
      this.unknown = true;
      this.#before += this.top - this.joined;
    }
    // In another epoch that follows one that we were in, all was published while we were away.
    if (this.epoch === undefined) this.joined = this.last = this.top = offset;
    else if (broken) this.joined = this.last = this.top = 0;
    this.epoch = epoch;
    for (const publication of publications) this.take(publication.offset);
    this.recovered += publications.length;
    this.last = Math.max(this.last, offset); // what is not here by now is not sent any more
    this.top = Math.max(this.top, this.last);
    return broken ? Infinity : this.missed - before;
  }

  /** A publication has come. Without an offset, the channel has no positions: it is counted, and nothing is proven. */
  take(offset) {
    if (offset <= this.last) {
      this.twice++;
      return;
    }
    this.received++;
    if (!offset) {
      this.#before++;
      return;
    }
    this.last = offset;
    this.top = Math.max(this.top, offset);
  }

  /** What to ask the history. */
  get question() { return { limit: 0 }; }

  /** Its answer: the position of the channel by the server's word, asked for apart from what it sends. Returns whether to ask for more. */
  says({ epoch = '', offset = 0 }, now) {
    if (epoch !== this.epoch) this.unknown = true;
    else this.top = Math.max(this.top, offset);
    this.confirmed = now;
    return false;
  }

  /** It does not answer. Returns whether to ask something else. */
  failed() { return false; }
}
