// What examples/chat looks like, on a phone and on a desk, by day and by night.
// The pictures are written to $E2E_SCREENSHOTS.
import assert from 'node:assert/strict';
import {mkdirSync, mkdtempSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {browse, Window} from './lib/browser.mjs';
import {serve} from './lib/server.mjs';

const timeout = 90_000;
const dir = process.env.E2E_SCREENSHOTS || mkdtempSync(join(tmpdir(), 'sockmill-screens-'));
mkdirSync(dir, {recursive: true});
console.log(`screenshots: ${dir}`);

const talk = [
  ['Ada', 'Has the new build reached the second node?'],
  ['Bob', 'Yes, a minute ago. Nobody lost the connection.'],
  ['Ada', 'And a very long word does not tear the page apart: ' + 'antidisestablishmentarianism'.repeat(6)],
  ['Bob', 'Two lines,\none message: é, ü, €.'],
];

for (const width of [390, 1280]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} px wide, ${colorScheme}`, {timeout}, async (t) => {
      const server = await serve(t, 'chat');
      const browser = await browse(t);
      const phone = width < 900;
      const ada = await Window.open(browser, server.port, {viewport: {width, height: phone ? 844 : 800}, colorScheme});
      const shoot = async (name) => {
        const overflow = await ada.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${name} scrolls sideways by ${overflow} px`);
        await ada.page.screenshot({path: join(dir, `${name}-${width}-${colorScheme}.png`)});
      };

      await ada.at('join').waitFor();
      await shoot('join');
      await ada.join('Ada');
      const bob = await Window.open(browser, server.port);
      await bob.join('Bob');
      for (const [i, [nick, text]] of talk.entries()) {
        await (nick === 'Ada' ? ada : bob).say(text);
        for (const window of [ada, bob]) await window.at('message', '[data-offset]').nth(i).waitFor();
      }
      await bob.at('composer').pressSequentially('so');
      await ada.at('typing').getByText('Bob is typing…').waitFor();
      await ada.metricAbove('poll-requests', 3);
      await shoot('chat');
      if (phone) {
        await ada.at('tab-compare').click();
        await ada.at('compare').waitFor();
        await shoot('compare');
      }
      ada.quiet();
      bob.quiet();
    });
  }
}
