// examples/arena played in Chromium.
import assert from 'node:assert/strict';
import {test} from 'node:test';
import {EJECT, INPUT, SPLIT} from '../examples/arena/web/wire.js';
import {alone, phone, Player} from './lib/arena.mjs';
import {browse} from './lib/browser.mjs';
import {serve} from './lib/server.mjs';

const timeout = 120_000;

test('names are checked before and by the server', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port);
  await ada.page.waitForFunction(() => document.activeElement.id === 'name');
  await ada.at('name').fill('much longer than sixteen');
  await ada.at('join').click();
  await ada.at('join-error').getByText('16').waitFor();
  await ada.at('name').fill('   ');
  await ada.at('join').click();
  await ada.at('join-error').getByText('enter a name').waitFor();
  assert.equal(await ada.at('game').getAttribute('data-state'), 'idle');
  await ada.join('<b>Ada</b> 🐢');
  await ada.at('leader', '[data-name="<b>Ada</b> 🐢"]').getByText('<b>Ada</b> 🐢', {exact: true}).waitFor();
  ada.quiet();
});

test('the keyboard moves the cell, in every direction', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port);
  await ada.join('Ada');
  const before = await ada.now();
  // Away from the walls, wherever the cell was born.
  const across = before.x < 1500 ? ['ArrowRight', 'KeyA', 1] : ['ArrowLeft', 'KeyD', -1];
  const along = before.y < 1500 ? ['KeyS', 'ArrowUp', 1] : ['KeyW', 'ArrowDown', -1];
  for (const [axis, [there, back, sign]] of [['x', across], ['y', along]]) {
    const from = await ada.now();
    await ada.page.keyboard.down(there);
    const to = await ada.until(`${there} to move`, (me) => sign * (me[axis] - from[axis]) > 60);
    await ada.page.keyboard.up(there);
    await ada.page.keyboard.down(back);
    await ada.until(`${back} to move`, (me) => sign * (to[axis] - me[axis]) > 30);
    await ada.page.keyboard.up(back);
  }
  ada.quiet();
});

const isInput = (bytes) => bytes[0] === INPUT;
const presses = (flag) => (bytes) => isInput(bytes) && (bytes[13] & flag) !== 0;

test('inputs are few, and carry the buttons', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port);
  ada.watchFrames();
  await ada.join('Ada');
  const began = performance.now();
  for (let i = 0; i < 100; i++) await ada.steer(Math.cos(i), Math.sin(i));
  await ada.page.keyboard.press('Space');
  await ada.sentThat('a split', presses(SPLIT));
  await ada.page.keyboard.press('e');
  await ada.sentThat('mass thrown', presses(EJECT));
  const inputs = ada.sent.filter(isInput);
  const seconds = (performance.now() - began) / 1000;
  assert.ok(inputs.length <= 31 * seconds + 10, `${inputs.length} inputs in ${seconds} s`);
  assert.ok(inputs.length >= 5, `${inputs.length} inputs`);
  const seqs = inputs.map((bytes) => bytes.readUInt32LE(1));
  assert.deepEqual(seqs, seqs.map((_, i) => i + 1), 'numbered without a gap');
  for (const bytes of inputs) assert.ok(Math.hypot(bytes.readFloatLE(5), bytes.readFloatLE(9)) < 1.001);
  assert.equal(inputs.filter(presses(SPLIT)).length, 1, 'one press, one split');
  ada.quiet();
});

test('a finger steers, a second one splits', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port, phone);
  ada.watchFrames();
  await ada.join('Ada');
  const touch = await ada.page.context().newCDPSession(ada.page);
  const fingers = (type, ...points) => touch.send('Input.dispatchTouchEvent', {type, touchPoints: points.map(([x, y], id) => ({x, y, id}))});
  const before = await ada.now();
  const sign = before.x < 1500 ? 1 : -1; // away from the wall
  await fingers('touchStart', [190, 600]);
  await fingers('touchMove', [190 + sign * 70, 600]);
  const moved = await ada.until('the finger to move it', (me) => sign * (me.x - before.x) > 60);
  assert.ok(Math.abs(moved.y - before.y) < 10, `straight: ${before.y} → ${moved.y}`);

  for (const [pad, flag] of [['split', SPLIT], ['eject', EJECT]]) {
    const {x, y} = await ada.at(pad).boundingBox();
    await fingers('touchStart', [190 + sign * 70, 600], [x + 30, y + 30]);
    const press = await ada.sentThat(pad, presses(flag));
    assert.ok(sign * press.readFloatLE(5) > 0.9, 'the first finger goes on steering');
    await fingers('touchEnd');
    await fingers('touchStart', [190, 600]);
    await fingers('touchMove', [190 + sign * 70, 600]);
  }
  await fingers('touchEnd');
  ada.sent.length = 0;
  await ada.sentThat('standing', (bytes) => isInput(bytes) && bytes.readFloatLE(5) === 0 && bytes.readFloatLE(9) === 0);
  ada.quiet();
});

test('eating grows the cell, and the leaders change', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const browser = await browse(t);
  const ada = await Player.open(browser, server.port);
  const bob = await Player.open(browser, server.port);
  await ada.join('Ada');
  await bob.join('Bob');
  await ada.at('leader').nth(1).waitFor();
  const {mass} = await ada.now();
  const fed = await ada.graze(mass + 4);
  assert.equal(fed.cells, 1);
  for (const window of [ada, bob]) {
    await window.at('leaders').locator('[data-testid="leader"][data-name="Ada"]:first-child').waitFor();
    assert.equal(await window.at('leader').count(), 2);
  }
  assert.equal((await ada.until('the first rank', (me) => me.rank === 1)).players, 2);
  await bob.until('the second rank', (me) => me.rank === 2);
  assert.equal(await ada.at('leader', '[aria-current="true"]').getAttribute('data-name'), 'Ada');
  assert.equal(await bob.at('leader', '[aria-current="true"]').getAttribute('data-name'), 'Bob');
  ada.quiet();
  bob.quiet();
});

test('who is eaten is told by whom, and plays again', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const browser = await browse(t);
  const ada = await Player.open(browser, server.port);
  const bob = await Player.open(browser, server.port);
  await ada.join('Ada');
  const {mass} = await bob.join('Bob');
  await ada.graze(mass * 1.3);
  const prey = await bob.now(); // Bob does not move
  await ada.until('Bob to be eaten', (me) => me.mass > 20.5, (me) => ada.steer(prey.x - me.x, prey.y - me.y));
  await bob.at('death-dialog').waitFor();
  await bob.at('death-by').getByText('Ada', {exact: true}).waitFor();
  assert.equal(await bob.at('death-mass').textContent(), '10');
  await bob.at('game', '[data-playing="false"]').waitFor();

  await bob.page.waitForFunction(() => document.activeElement.id === 'respawn');
  await bob.page.keyboard.press('Enter');
  const again = await bob.alive();
  await bob.at('death-dialog').waitFor({state: 'hidden'});
  assert.equal(again.player, prey.player);
  await bob.until('a cell', (me) => me.cells === 1 && me.mass > 9);
  ada.quiet();
  bob.quiet();
});

test('the figures', {timeout}, async (t) => {
  const server = await serve(t, 'arena', ...alone);
  const ada = await Player.open(await browse(t), server.port);
  await ada.join('Ada');
  assert.equal(await ada.at('figures').isVisible(), false);
  await ada.page.keyboard.press('o');
  await ada.at('figures').waitFor();
  await ada.at('figures-toggle', '[aria-expanded="true"]').waitFor();
  for (const [figure, least] of [['rtt', 0], ['tick', -1], ['bytes', 300], ['snapshots', 5], ['dropped', -1], ['entities', 0], ['delay', 99]]) {
    await ada.metricAbove(`figure-${figure}`, least);
  }
  assert.ok(await ada.metric('figure-snapshots') < 40);
  assert.ok(await ada.metric('figure-delay') <= 300);
  await ada.at('figures-toggle').click();
  await ada.at('figures').waitFor({state: 'hidden'});
  ada.quiet();
});
