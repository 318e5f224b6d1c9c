// What the page of ops/admin looks like, on a phone and on a desk, by day and by night.
// The pictures are written to $E2E_SCREENSHOTS.
import assert from 'node:assert/strict';
import {mkdirSync, mkdtempSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {changeToken, Operator, serve, stop, tokens} from './lib/admin.mjs';
import {browse} from './lib/browser.mjs';

const timeout = 180_000;
const dir = process.env.E2E_SCREENSHOTS || mkdtempSync(join(tmpdir(), 'sockmill-screens-'));
mkdirSync(dir, {recursive: true});
console.log(`screenshots: ${dir}`);

for (const width of [390, 1280]) {
  for (const colorScheme of ['light', 'dark']) {
    test(`${width} px wide, ${colorScheme}`, {timeout}, async (t) => {
      const server = await serve(t, '-admin.simulated', '3000', ...tokens);
      const phone = width < 900;
      const admin = await Operator.open(await browse(t), server.port, {viewport: {width, height: phone ? 844 : 800}, colorScheme, hasTouch: phone, isMobile: phone});
      const shoot = async (name) => {
        const overflow = await admin.page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth);
        assert.ok(overflow <= 0, `${name} scrolls sideways by ${overflow} px`);
        const out = await admin.page.evaluate(() => [...document.querySelectorAll('button, input, select, nav a, h1, h2, dd, td, .tile')]
          .filter((e) => e.checkVisibility({visibilityProperty: true}) && !e.closest('.unseen'))
          .filter((e) => { const {left, right} = e.getBoundingClientRect(); return left < 0 || right > window.innerWidth; }).map((e) => e.outerHTML.slice(0, 120)));
        assert.deepEqual(out, [], `${name}: beyond the edge`);
        // Numbers that are cut off are worse than none.
        const cut = await admin.page.evaluate(() => [...document.querySelectorAll('td.n, .tile b, .tile .note, dd')]
          .filter((e) => e.checkVisibility() && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline').map((e) => e.textContent));
        assert.deepEqual(cut, [], `${name}: cut off`);
        await admin.page.screenshot({path: join(dir, `admin-${name}-${width}-${colorScheme}.png`)});
      };

      await admin.at('sign-dialog').waitFor();
      await shoot('sign-in');
      await admin.signIn(changeToken);
      await admin.drawn('overview');
      await admin.refreshed(3);
      await shoot('overview');
      await admin.go('connections');
      await shoot('connections');
      await admin.at('q').fill('nobody has this name');
      await admin.at('list-empty').waitFor();
      await shoot('none');
      await admin.go('connection/7');
      await admin.at('tail-payload').check();
      await admin.at('tail-toggle').click();
      await admin.at('frame').nth(8).waitFor();
      await shoot('connection');
      await admin.at('tail').scrollIntoViewIfNeeded();
      await shoot('frames');
      await admin.at('close').click();
      await shoot('close');
      await admin.at('close-not').click();
      await admin.go('connection/999999999');
      await admin.at('ended').waitFor();
      await shoot('ended');
      await admin.go('config');
      await shoot('config');
      await admin.go('overview');
      await stop(server);
      await admin.at('banner').waitFor();
      await shoot('gone');
      assert.deepEqual(admin.complaints.filter((text) => !/ (401|404) /.test(text)), []);
    });
  }
}
