// Windows in which examples/arena is played.
import {Window} from './browser.mjs';
import {within} from './process.mjs';

// A server whose world has no players but the windows: nobody eats them unasked.
export const alone = ['-npcs', '0', '-seed', '1'];

export const phone = {viewport: {width: 390, height: 844}, hasTouch: true, isMobile: true, deviceScaleFactor: 2};

export class Player extends Window {
  sent = []; // what the page told the server, as bytes
  #awake = () => {};

  static async open(browser, port, options = {}) {
    return super.open(browser, port, {path: '/', ...options});
  }

  // Keeps what the page sends from now on.
  watchFrames() {
    this.page.on('websocket', (socket) => socket.on('framesent', ({payload}) => {
      this.sent.push(Buffer.from(payload));
      this.#awake();
    }));
  }

  // Waits until something that was sent passes the test, and returns it.
  sentThat(what, passes) {
    const found = async () => {
      for (let i = 0; ; i++) {
        while (i >= this.sent.length) await new Promise((resolve) => { this.#awake = resolve; });
        if (passes(this.sent[i])) return this.sent[i];
      }
    };
    return within(15_000, what, found());
  }

  async join(name) {
    await this.at('name').fill(name);
    await this.at('join').click();
    this.nick = name;
    return this.alive();
  }

  state(name) {
    return this.at('game', `[data-state="${name}"]`).waitFor();
  }

  async alive() {
    await this.state('connected');
    await this.at('game', '[data-playing="true"]').waitFor();
    return this.now();
  }

  // What the page says about the player.
  async now() {
    const {player, cells, mass, x, y, rank, players, food, resumed} = await this.page.evaluate(() => ({...document.body.dataset}));
    const [fx, fy] = (food ?? '').split(',').map(Number);
    return {
      player: Number(player), cells: Number(cells), mass: Number(mass), x: Number(x), y: Number(y), rank: Number(rank),
      players: Number(players), food: food ? {x: fx, y: fy} : null, resumed: resumed === 'true',
    };
  }

  // Waits until what the page says passes the test, and returns it.
  async until(what, passes, each = () => {}, ms = 60_000) {
    let last;
    const found = async () => {
      for (;;) {
        last = await this.now();
        if (passes(last)) return last;
        await each(last);
        await this.#change(last);
      }
    };
    return within(ms, () => `${what}: ${JSON.stringify(last)}`, found());
  }

  // Waits for the next frame in which something moved, or became different.
  #change({x, y, mass, player}) {
    return this.page.waitForFunction((was) => {
      const {x, y, mass, player} = document.body.dataset;
      return was !== [x, y, mass, player].map(Number).join();
    }, [x, y, mass, player].join());
  }

  // Steers by mouse: the page follows the pointer.
  async steer(dx, dy) {
    const {width, height} = this.page.viewportSize();
    const length = Math.hypot(dx, dy) || 1;
    await this.page.mouse.move(width / 2 + dx / length * 250, height / 2 + dy / length * 250);
  }

  // Eats until its mass is at least that.
  graze(mass) {
    return this.until(`${this.nick} to weigh ${mass}`, (me) => me.mass >= mass, (me) => this.#toFood(me));
  }

  // Food in sight is gone for; otherwise it is to be looked for, in the middle of the arena.
  async #toFood({x, y, food}) {
    const {width, height} = this.page.viewportSize();
    if (food) return this.steer(food.x - width / 2, food.y - height / 2);
    return this.steer(1500 - x, 1500 - y);
  }
}
