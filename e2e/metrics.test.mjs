// /metrics of examples/hub, the alerts and the dashboard, before promtool and in a real Prometheus.
import assert from 'node:assert/strict';
import {once} from 'node:events';
import {mkdtempSync, readFileSync, rmSync, writeFileSync} from 'node:fs';
import {tmpdir} from 'node:os';
import {join} from 'node:path';
import {test} from 'node:test';
import {fileURLToPath} from 'node:url';
import WebSocket from 'ws';
import {freePort} from './lib/port.mjs';
import {end, launch, run, tool, within} from './lib/process.mjs';
import {serve} from './lib/server.mjs';

const timeout = 60_000;
const deploy = fileURLToPath(new URL('../deploy/', import.meta.url));
const promtool = (...args) => run(tool('promtool', 'prometheus'), args);

function directory(t) {
  const dir = mkdtempSync(join(tmpdir(), 'sockmill-metrics-'));
  t.after(() => rmSync(dir, {recursive: true, force: true}));
  return dir;
}

// examples/hub, with something published, a connection that has come and gone, and the address of its /metrics: what never happened has no
// histogram.
async function hub(t) {
  const server = await serve(t, 'hub', '-api-key', 'key', '-admin', '127.0.0.1:0');
  const [, target] = await server.process.said(/admin on http:\/\/(127\.0\.0\.1:\d+)\//);
  const headers = {'X-API-Key': 'key'}, body = JSON.stringify({channel: 'news', data: {n: 1}});
  assert.equal((await fetch(`http://127.0.0.1:${server.port}/api/publish`, {method: 'POST', headers, body})).status, 200);
  const socket = new WebSocket(`ws://127.0.0.1:${server.port}/connection/websocket`);
  await once(socket, 'open');
  socket.close();
  await once(socket, 'close');
  return target;
}

async function scraped(target) {
  const response = await fetch(`http://${target}/metrics`);
  assert.equal(response.status, 200);
  return response.text();
}

test('promtool has nothing against the metrics', {timeout}, async (t) => {
  const text = await scraped(await hub(t));
  assert.match(text, /^sockmill_hub_publications_published_total 1$/m);
  const file = join(directory(t), 'metrics');
  const check = () => run('sh', ['-c', '"$0" check metrics <"$1"', tool('promtool', 'prometheus'), file]);
  writeFileSync(file, text);
  assert.deepEqual(await check(), {code: 0, signal: null, out: '', err: ''});
  writeFileSync(file, text.replace(/^# HELP sockmill_ready .*\n/m, '')); // and it can have something
  assert.notEqual((await check()).code, 0);
});

test('the alerts are right, and fire when they should', {timeout}, async () => {
  for (const args of [['check', 'rules', `${deploy}alerts.yaml`], ['test', 'rules', `${deploy}alerts_test.yaml`]]) {
    const {code, out, err} = await promtool(...args);
    assert.equal(code, 0, out + err);
    assert.match(out, /SUCCESS/);
  }
});

// Prometheus that looks at target every half second, and a function that asks it.
async function prometheus(t, target) {
  const dir = directory(t), port = await freePort(), file = join(dir, 'prometheus.yml');
  writeFileSync(file, `global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: ['${deploy}alerts.yaml']
scrape_configs: [{job_name: sockmill, static_configs: [{targets: ['${target}']}]}]\n`);
  const p = launch(tool('prometheus', 'prometheus'), [`--config.file=${file}`, `--storage.tsdb.path=${dir}`, `--web.listen-address=127.0.0.1:${port}`]);
  t.after(() => end(p, 'SIGTERM'));
  await p.said(/ready to receive web requests/, 30_000);
  return async (path, params = {}) => {
    const response = await fetch(`http://127.0.0.1:${port}/api/v1/${path}?${new URLSearchParams(params)}`);
    const {status, data, error} = await response.json();
    assert.equal(status, 'success', `${params.query}: ${error}`);
    return data;
  };
}

test('Prometheus answers each query of the dashboard, and no alert fires', {timeout}, async (t) => {
  const ask = await prometheus(t, await hub(t));
  const query = async (expr) => (await ask('query', {query: expr})).result;
  await within(20_000, 'three scrapes', (async () => {
    for (;;) {
      const [seen] = await query('count_over_time(up[1m]) > 2 and up == 1');
      if (seen) return;
    }
  })());
  const empty = [];
  for (const {title, targets = []} of JSON.parse(readFileSync(`${deploy}grafana.json`, 'utf8')).panels) {
    for (const {expr} of targets) {
      const found = await query(expr.replaceAll('$__rate_interval', '20s').replaceAll(/"\$(job|instance)"/g, '".+"'));
      if (!found.length) empty.push(`${title}: ${expr}`);
    }
  }
  // There is no NATS, no UDP and no TLS.
  assert.deepEqual(empty.filter((s) => !/sockmill_(nats|packets|certificate)_/.test(s)), []);
  assert.notEqual(empty.length, 0);
  assert.deepEqual((await ask('alerts')).alerts, []);
});
