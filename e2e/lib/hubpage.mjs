// Windows that have the page of examples/hub open, and its HTTP API.
import assert from 'node:assert/strict';
import {Window} from './browser.mjs';

export const key = 'k';

export class Member extends Window {
  static async open(browser, port, {channel = 'news', ...options} = {}) {
    return super.open(browser, port, {path: `/#${channel}`, ...options});
  }

  async join(name) {
    await this.at('name').fill(name);
    await this.at('join').click();
    await this.state('connected');
    this.nick = name;
  }

  // Waits until these are here, no matter in what order.
  async people(...names) {
    await this.page.waitForFunction((want) => {
      const users = [...document.querySelectorAll('[data-testid="person"]')].map((person) => person.dataset.user);
      return users.sort().join() === want;
    }, names.sort().join());
    assert.equal(await this.at('people-count').textContent(), String(names.length));
  }

  async cut(seconds = 90) {
    await this.at('cut-for').selectOption(String(seconds));
    await this.at('cut').click();
    await this.state('cut');
  }

  async comeBack() {
    await this.at('reconnect').click();
    await this.state('connected');
  }

  // Waits until the counter says so. What is not named may be anything.
  async counts(figures) {
    await this.page.waitForFunction((want) => {
      const {dataset} = document.querySelector('[data-testid="counter"]');
      return Object.entries(want).every(([name, value]) => dataset[name] === String(value));
    }, figures).catch(async (error) => {
      throw new Error(`the counter of ${this.nick} says ${JSON.stringify(await this.figures())}, not ${JSON.stringify(figures)}`, {cause: error});
    });
  }

  figures() {
    return this.at('counter').evaluate(({dataset}) => ({...dataset}));
  }

  verdict(name) {
    return this.at('verdict', `[data-verdict="${name}"]`).waitFor();
  }

  // The numbers of the messages in the log that is shown, in order.
  async offsets(how) {
    const css = how ? `[data-how="${how}"]` : '';
    return (await this.page.locator(`[data-testid="log"]:not([hidden]) [data-testid="message"]${css}`).evaluateAll((list) => list.map(({dataset}) => dataset.offset))).map(Number);
  }
}

// Calls a method of the HTTP API.
export async function call(port, method, params) {
  const response = await fetch(`http://127.0.0.1:${port}/api/${method}`, {
    method: 'POST', headers: {'X-API-Key': key, 'Content-Type': 'application/json'}, body: JSON.stringify(params),
  });
  assert.equal(response.status, 200);
  const {result, error} = await response.json();
  assert.ok(!error, JSON.stringify(error));
  return result;
}

// Publishes n messages, one after another.
export async function publish(port, channel, n) {
  for (let i = 1; i <= n; i++) await call(port, 'publish', {channel, data: {text: `${i} of ${n}`}});
}

// The numbers from one to another.
export const range = (from, to) => Array.from({length: to - from + 1}, (_, i) => from + i);
