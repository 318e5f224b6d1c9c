// The page of ops/admin with 100,000 connections behind it: simulated, but answered by the same handler.
import assert from 'node:assert/strict';
import {loadavg} from 'node:os';
import {test} from 'node:test';
import {Operator, serve} from './lib/admin.mjs';
import {browse} from './lib/browser.mjs';

const timeout = 240_000;
const many = 100_000;
const few = 10;
const attempts = 3;

// Opens the page. Returns when it was first painted, and when with its data, in ms since the browser asked for it.
async function paint(admin, view) {
  await admin.page.goto('about:blank');
  await admin.page.goto(`${admin.address}#/${view}`, {waitUntil: 'commit'});
  await admin.page.waitForFunction(() => globalThis.drawnAt);
  return admin.page.evaluate(() => ({
    first: Math.round(performance.getEntriesByName('first-contentful-paint')[0].startTime), data: Math.round(globalThis.drawnAt),
  }));
}

async function open(t, server, view) {
  const admin = await Operator.open(await browse(t), server.port, {view});
  admin.address = `http://127.0.0.1:${server.port}/`;
  admin.page.setDefaultTimeout(60_000);
  await admin.page.addInitScript(() => {
    globalThis.longest = 0;
    new PerformanceObserver((list) => { for (const {duration} of list.getEntries()) globalThis.longest = Math.max(globalThis.longest, duration); })
      .observe({type: 'longtask', buffered: true});
    globalThis.shifts = []; // what has moved, and how much of the page that was
    new PerformanceObserver((list) => {
      for (const {value, sources} of list.getEntries()) globalThis.shifts.push([value, ...sources.map(({node}) => node?.parentElement?.outerHTML.slice(0, 200))]);
    }).observe({type: 'layout-shift', buffered: true});
    addEventListener('drawn', () => requestAnimationFrame(() => setTimeout(() => { globalThis.drawnAt ??= performance.now(); })), {once: true, capture: true});
  });
  await admin.page.reload(); // with that script
  await admin.drawn(view);
  return admin;
}

// Where other programs need the processors, a page with few connections says what a second is worth.
for (const view of ['overview', 'connections']) {
  test(`the first paint of ${view} comes within a second`, {timeout}, async (t) => {
    const pages = [];
    for (const n of [few, many]) pages.push(await open(t, await serve(t, '-admin.simulated', String(n)), view));
    const all = {[few]: [], [many]: []};
    for (let i = 0; i < attempts; i++) {
      for (const [at, n] of [few, many].entries()) all[n].push(await paint(pages[at], view));
    }
    t.diagnostic(`${view}, ms to the first paint and to the data, by connections: ${JSON.stringify(all)}; load ${loadavg()[0].toFixed(1)}`);
    for (const what of ['first', 'data']) {
      const [small, large] = [few, many].map((n) => Math.min(...all[n].map((paints) => paints[what])));
      assert.ok(large < Math.max(1000, 3 * small), `${what}: ${large} ms, with ${few} connections ${small} ms`);
    }
    assert.match(await pages[1].page.locator('body').textContent(), /100,000/);
    for (const page of pages) page.quiet();
  });
}

test('a hundred thousand connections are paged, searched and sorted', {timeout}, async (t) => {
  const server = await serve(t, '-admin.simulated', String(many));
  const admin = await open(t, server, 'connections');
  await admin.at('found').getByText('100,000 connections').waitFor();
  const rows = () => admin.at('list').locator('tbody tr').count();
  assert.equal(await rows(), 50);
  assert.equal(await admin.at('page-range').textContent(), '1–50 of 100,000');
  await admin.at('limit').selectOption('200');
  await admin.at('page-range').getByText('1–200 of 100,000').waitFor();
  assert.equal(await rows(), 200);
  assert.ok(await admin.page.locator('*').count() < 5000, 'the page has too many elements');
  await admin.at('page-next').click();
  await admin.at('page-range').getByText('201–400 of 100,000').waitFor();
  await admin.page.goBack();
  await admin.at('page-range').getByText('1–200 of 100,000').waitFor();
  await admin.go('connections?limit=200&offset=9800');
  await admin.at('page-range').getByText('9,801–10,000 of 100,000').waitFor();
  assert.equal(await admin.at('page-next').isDisabled(), true);
  await admin.page.locator('#deep').getByText('The list ends at 10,000').waitFor();

  await admin.at('page-first').click();
  await admin.at('list').getByRole('button', {name: 'In', exact: true}).click();
  await admin.at('list').locator('th[aria-sort="descending"]').waitFor();
  await admin.refreshed();
  const column = await admin.at('list').locator('tbody tr td:nth-child(5)').allTextContents();
  const size = (text) => { const [n, unit] = text.split(' '); return Number(n) * 1024 ** ['B', 'KiB', 'MiB', 'GiB'].indexOf(unit); };
  assert.deepEqual(column.map(size), column.map(size).sort((a, b) => b - a));

  await admin.at('q').pressSequentially('#4711', {delay: 0});
  await admin.at('found').getByText('1 of 100,000 connections').waitFor();
  assert.match(await admin.row('#4711').textContent(), /#4711/);
  await admin.at('q').fill('nobody has this name');
  await admin.at('list-empty').getByText('No connection matches').waitFor();
  await admin.at('q').fill('');
  await admin.at('found').getByText('100,000 connections').waitFor();
  await admin.at('paused').selectOption('any');
  await admin.at('found').getByText(/[\d,]+ of 100,000 connections/).waitFor();

  const longest = await admin.page.evaluate(() => globalThis.longest);
  t.diagnostic(`the longest task of the page took ${Math.round(longest)} ms`);
  admin.quiet();
});

test('nothing moves when the data comes again', {timeout}, async (t) => {
  const server = await serve(t, '-admin.simulated', '1000');
  const admin = await open(t, server, 'overview');
  for (const view of ['overview', 'connections?sort=id&order=asc', 'connection/7', 'config']) {
    await admin.go(view);
    await admin.refreshed(2); // the second one has rates
    const before = await admin.page.evaluate(() => { globalThis.shifts = []; return document.documentElement.scrollHeight; });
    await admin.refreshed(2);
    assert.deepEqual(await admin.page.evaluate(() => [document.documentElement.scrollHeight, globalThis.shifts]), [before, []], view);
  }
  admin.quiet();
});
