// What examples/hub looks like, on a phone and on a desk, by day and by night.
// The pictures are written to $E2E_SCREENSHOTS.
import assert from 'node:assert/strict';
import {mkdirSync, mkdtempSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {browse} from './lib/browser.mjs';
import {key, Member, publish} from './lib/hubpage.mjs';
import {serve} from './lib/server.mjs';

const timeout = 90_000;
const dir = process.env.E2E_SCREENSHOTS || mkdtempSync(join(tmpdir(), 'sockmill-screens-'));
mkdirSync(dir, {recursive: true});
console.log(`screenshots: ${dir}`);

const talk = [
  ['Ada', 'Has the new build reached the second node?'],
  ['Bob', 'Yes, a minute ago. Nobody lost the connection.'],
  ['Ada', 'And a very long word does not tear the page apart: ' + 'antidisestablishmentarianism'.repeat(6)],
];
const long = 'a-channel-with-a-name-that-is-much-longer-than-its-place-allows';

for (const width of [390, 1280]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} px wide, ${colorScheme}`, {timeout}, async (t) => {
      const server = await serve(t, 'hub', '-api-key', key, '-history', '40');
      const browser = await browse(t);
      const phone = width < 900;
      const ada = await Member.open(browser, server.port, {viewport: {width, height: phone ? 844 : 800}, colorScheme, hasTouch: phone, isMobile: phone});
      const shoot = async (name) => {
        const overflow = await ada.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${name} scrolls sideways by ${overflow} px`);
        const out = await ada.page.evaluate(() => [...document.querySelectorAll('button, input, select, [data-testid="counter"], [data-testid="verdict"], [data-testid="state"]')]
          .filter((e) => e.checkVisibility() && !e.closest('nav')) // on a phone, the channels scroll
          .filter((e) => { const {left, right} = e.getBoundingClientRect(); return left < 0 || right > window.innerWidth; }).map((e) => e.outerHTML));
        assert.deepEqual(out, [], `${name}: beyond the edge`);
        await ada.page.screenshot({path: join(dir, `hub-${name}-${width}-${colorScheme}.png`)});
      };
      // Nothing lies on top of anything else.
      const apart = async (...ids) => {
        const boxes = await Promise.all(ids.map(async (id) => ({id, ...await ada.at(id).locator('visible=true').first().boundingBox()})));
        for (const [i, a] of boxes.entries()) {
          for (const b of boxes.slice(i + 1)) {
            const overlap = a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
            assert.ok(!overlap, `${a.id} lies on ${b.id}`);
          }
        }
      };
      const always = ['state', 'leave', 'channels', 'people', 'counter', 'verdict', 'cut-for', 'cut', 'burst', 'log', 'composer', 'send'];

      await ada.at('join').waitFor();
      await shoot('join');
      await ada.join('Ada');
      const bob = await Member.open(browser, server.port);
      await bob.join('Bob');
      await ada.people('Ada', 'Bob');
      await ada.verdict('complete');
      await apart(...always);
      for (const [nick, text] of talk) {
        await (nick === 'Ada' ? ada : bob).say(text);
        for (const window of [ada, bob]) await window.message(text).waitFor();
      }
      await shoot('talk');

      await ada.cut();
      await publish(server.port, 'news', 12);
      await apart(...always, 'banner');
      await shoot('cut');
      await ada.comeBack();
      await ada.counts({received: 15, of: 15, reconnects: 1});
      await ada.verdict('complete');
      await shoot('back');

      await ada.page.locator('#channel').fill(long);
      await ada.page.locator('#channel').press('Enter');
      await publish(server.port, long, 1);
      await ada.counts({received: 16});
      await ada.cut();
      await publish(server.port, long, 60);
      await ada.comeBack();
      await ada.counts({received: 16, of: 76, missed: 60, reconnects: 2});
      await apart(...always);
      await shoot('lost');
      if (phone) {
        await ada.page.locator('#more summary').click();
        await shoot('more');
      }
      ada.quiet();
      bob.quiet();
    });
  }
}
