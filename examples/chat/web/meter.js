// Time and traffic: what the comparison is made of.

/** Milliseconds since 1970 with fractions; unlike Date.now() it never jumps. */
export const now = () => performance.timeOrigin + performance.now();

const encoder = new TextEncoder();
export const utf8Bytes = (text) => encoder.encode(text).length;

/** Size of a WebSocket frame's header (RFC 6455 section 5.2); a client's frames are masked. */
export const frameHeaderBytes = (payload, masked) =>
  (payload < 126 ? 2 : payload < 65536 ? 4 : 10) + (masked ? 4 : 0);

/** The server's clock as seen from here: the fastest round trip gives the best estimate. */
export class Clock {
  #offset = 0;
  #best = Infinity;

  /** sentAt: when we asked, by now(); server: microseconds in the answer that just came. */
  sample(sentAt, server) {
    const receivedAt = now();
    if (receivedAt - sentAt >= this.#best) return;
    this.#best = receivedAt - sentAt;
    this.#offset = server / 1000 - (sentAt + receivedAt) / 2;
  }

  /** Milliseconds that have passed since the server's time stamp. */
  since(server) {
    return Math.max(0, now() + this.#offset - server / 1000);
  }
}

export class Meter {
  requests = 0;
  headers = 0;
  bodies = 0;
  delay = null;
  changed = () => {};

  get bytes() { return this.headers + this.bodies; }

  add(headers, bodies) {
    this.headers += headers;
    this.bodies += bodies;
    this.changed();
  }

  arrived(delay) {
    this.delay = delay;
    this.changed();
  }
}

const byteText = (n) =>
  n < 1000 ? `${n} B` : n < 1e6 ? `${(n / 1000).toFixed(1)} kB` : `${(n / 1e6).toFixed(2)} MB`;

const delayText = (ms) =>
  ms === null ? '–' : ms < 1 ? '< 1 ms' : ms < 1000 ? `${ms.toFixed(0)} ms` : `${(ms / 1000).toFixed(1)} s`;

/** Draws both meters whenever one of them changes. */
export function showMeters(ws, poll) {
  const cell = (id) => document.querySelector(`[data-testid="${id}"]`);
  const put = (id, value, text) => {
    const element = cell(id);
    element.dataset.value = value ?? '';
    element.textContent = text;
  };
  const draw = () => {
    for (const [name, meter] of [['ws', ws], ['poll', poll]]) {
      put(`${name}-requests`, meter.requests, String(meter.requests));
      put(`${name}-bytes`, meter.bytes, byteText(meter.bytes));
      put(`${name}-header-bytes`, meter.headers, byteText(meter.headers));
      put(`${name}-delay`, meter.delay, delayText(meter.delay));
      const share = meter.bytes / Math.max(ws.bytes, poll.bytes, 1);
      document.getElementById(`${name}-bar`).style.inlineSize = `${(share * 100).toFixed(1)}%`;
    }
    const factor = poll.bytes / ws.bytes;
    put('compare-headline', null, !ws.bytes || !poll.bytes ? 'Measuring…'
      : factor >= 1.1 ? `Polling has moved ${factor < 10 ? factor.toFixed(1) : factor.toFixed(0)} times the bytes so far.`
        : 'The handshake is paid; now watch the polls add up.');
  };
  ws.changed = poll.changed = draw;
}
