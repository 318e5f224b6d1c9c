// Chromium windows that have the chat open, or another page.
import assert from 'node:assert/strict';
import {chromium} from 'playwright-core';
import {tool} from './process.mjs';

// Starts a browser with a profile of its own, which ends with the test t.
export async function browse(t, ...args) {
  const browser = await chromium.launch({
    executablePath: tool('chromium', 'chromium'),
    args: ['--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
      '--disable-background-networking', '--disable-component-update', '--disable-sync', ...args],
  });
  t.after(() => browser.close());
  return browser;
}

// How the browser itself reports an outage; 404 is how a restarted server answers
// a poll for a room that nobody has entered again.
const outage = /^(WebSocket connection to|Failed to load resource: (net::|.* 404 ))/;

// One window: a fresh context, so that nobody shares a session.
export class Window {
  complaints = []; // what the console says that should not be there
  outages = [];    // what it says about a server that is away

  static async open(browser, port, {room = 'lobby', path = `/#${room}`, ...options} = {}) {
    const window = new this();
    const context = await browser.newContext({viewport: {width: 1280, height: 800}, ...options});
    context.setDefaultTimeout(15_000);
    window.page = await context.newPage();
    await window.#watch();
    await window.page.goto(`http://127.0.0.1:${port}${path}`);
    return window;
  }

  async #watch() {
    await this.page.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (e) => console.error(`policy: ${e.violatedDirective} ${e.blockedURI}`));
    });
    this.page.on('pageerror', (error) => this.complaints.push(String(error)));
    this.page.on('console', (message) => {
      if (!['error', 'warning'].includes(message.type())) return;
      (outage.test(message.text()) ? this.outages : this.complaints).push(message.text());
    });
  }

  // The element with this data-testid, and with this CSS on it.
  at(id, css = '') {
    return this.page.locator(`[data-testid="${id}"]${css}`);
  }

  async join(nick) {
    await this.at('nick').fill(nick);
    await this.at('join').click();
    await this.state('connected');
    this.nick = nick;
  }

  state(name) {
    return this.at('state', `[data-state="${name}"]`).waitFor();
  }

  async say(text) {
    await this.at('composer').fill(text);
    await this.at('composer').press('Enter');
  }

  message(text) {
    return this.at('message').filter({has: this.page.getByTestId('message-text').getByText(text, {exact: true})});
  }

  // All texts in the log, in order.
  texts() {
    return this.at('message-text').allTextContents();
  }

  // Waits until the log holds exactly these messages.
  async shows(...texts) {
    await this.message(texts.at(-1)).first().waitFor();
    assert.deepEqual(await this.texts(), texts, `in the window of ${this.nick}`);
  }

  // The number behind a metric.
  async metric(id) {
    return Number(await this.at(id).getAttribute('data-value'));
  }

  async metricAbove(id, least) {
    await this.page.waitForFunction(
      ([testid, n]) => Number(document.querySelector(`[data-testid="${testid}"]`).dataset.value) > n, [id, least]);
    return this.metric(id);
  }

  quiet() {
    assert.deepEqual([...this.complaints, ...this.outages], [], `the console of ${this.nick}`);
  }

  // The same after an outage.
  quietButForOutages() {
    assert.deepEqual(this.complaints, [], `the console of ${this.nick}`);
  }
}
