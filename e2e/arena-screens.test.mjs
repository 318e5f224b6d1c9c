// What examples/arena looks like, on a phone and on a desk, by day and by night.
// The pictures are written to $E2E_SCREENSHOTS.
import assert from 'node:assert/strict';
import {mkdirSync, mkdtempSync, readFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {phone, Player} from './lib/arena.mjs';
import {browse} from './lib/browser.mjs';
import {serve} from './lib/server.mjs';

const timeout = 120_000;
const dir = process.env.E2E_SCREENSHOTS || mkdtempSync(join(tmpdir(), 'sockmill-screens-'));
mkdirSync(dir, {recursive: true});
console.log(`screenshots: ${dir}`);

const golden = JSON.parse(readFileSync(new URL('../examples/arena/testdata/golden.json', import.meta.url)));
const died = Buffer.from(golden.server.find(({name}) => name === 'died').hex, 'hex');

// Dialogs come in softly.
const settled = (page) => page.waitForFunction(() => document.getAnimations().every(({playState}) => playState === 'finished'));

for (const [width, options] of [[390, phone], [1280, {}]]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} px wide, ${colorScheme}`, {timeout}, async (t) => {
      const server = await serve(t, 'arena', '-npcs', '30', '-seed', '5');
      const ada = await Player.open(await browse(t), server.port, {...options, colorScheme});
      const shoot = async (name) => {
        const overflow = await ada.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${name} scrolls sideways by ${overflow} px`);
        await settled(ada.page);
        await ada.page.screenshot({path: join(dir, `arena-${name}-${width}-${colorScheme}.png`)});
      };
      // Nothing lies on top of anything else.
      const apart = async (...ids) => {
        const boxes = await Promise.all(ids.map(async (id) => ({id, ...await ada.at(id).boundingBox()})));
        for (const [i, a] of boxes.entries()) {
          assert.ok(a.x >= 0 && a.y >= 0 && a.x + a.width <= width, `${a.id} is off the screen`);
          for (const b of boxes.slice(i + 1)) {
            const overlap = a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
            assert.ok(!overlap, `${a.id} lies on ${b.id}`);
          }
        }
      };

      let toPage, away = false;
      await ada.page.routeWebSocket('**/play', (page) => {
        toPage = page;
        if (away) page.close({code: 1012});
        else page.connectToServer();
      });
      await ada.at('join').waitFor();
      await shoot('join');
      await ada.join('Ada Lovelace');
      await ada.at('leader').nth(4).waitFor();
      await shoot('play');
      const touch = options.hasTouch ? ['split', 'eject'] : [];
      if (await ada.at('death-dialog').isHidden()) await apart('mass', 'leaders', 'minimap', 'figures-toggle', 'leave', ...touch);
      await ada.at('figures-toggle').click();
      await ada.metricAbove('figure-snapshots', 0);
      await shoot('figures');
      if (await ada.at('death-dialog').isHidden()) toPage.send(died);
      await ada.at('death-dialog').waitFor();
      await ada.page.waitForFunction(() => document.activeElement.id === 'respawn');
      await shoot('death');

      away = true;
      toPage.close({code: 1012});
      await ada.at('banner-text').getByText(/Reconnecting in \d+\ss/).waitFor();
      await apart('banner', 'death-dialog', 'leaders', 'minimap');
      await shoot('lost');
      ada.quiet();
    });
  }
}
