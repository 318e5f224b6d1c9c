//go:build linux

package main

import (
	"strings"
	"testing"

	"github.com/sockmill/sockmill/bench/internal/report"
)

// add adds seven repetitions of a peer whose CPU per message is ns, with some noise
// that all peers share.
func add(r *report.Results, scenario, peer string, ns ...float64) {
	for i, x := range ns {
		noise := 1 + 0.3*float64(i%3)
		r.Samples = append(r.Samples, report.Sample{Scenario: scenario, Peer: peer, Repetition: i, Load: report.Load{
			Messages: 1e6, ServerCPUNs: int64(x * noise * 1e6), WindowNs: 1e9, Connections: 100, Published: 1e6, Latency: report.Latency{Samples: 1, P50: 1e6, P99: 7e6},
		}})
	}
}

func seven(x float64) []float64 {
	return []float64{x, x * 1.01, x * 0.99, x * 1.02, x * 0.98, x, x}
}

// A bound fails if the whole interval lies above it, and only then.
func TestVerdicts(t *testing.T) {
	for _, c := range []struct {
		name    string
		ours    []float64
		absent  bool
		want    string
		allowed bool
	}{
		{"far below", seven(50), false, "reached", true},
		{"above", seven(85), false, "FAILS", false},
		{"across", []float64{70, 85, 75, 90, 84, 85, 75}, false, "not refuted", true},
		{"absent", seven(50), true, "absent: no npm", true},
		{"not measured", nil, false, "FAILS: sockmill was not measured", false},
	} {
		r := &report.Results{Absent: map[string]string{}}
		b := bound{scenario: "echo-1000x1", against: "gws", most: 0.80}
		add(r, b.scenario, ours, c.ours...)
		if c.absent {
			r.Absent["gws"] = "no npm"
		} else {
			add(r, b.scenario, "gws", seven(100)...)
		}
		e, missing := b.measure(r)
		verdict, fails := b.verdict(e, missing)
		if verdict != c.want || fails == c.allowed {
			t.Errorf("%s: %q, fails: %v; want %q (%+v)", c.name, verdict, fails, c.want, e)
		}
	}
}

// Ratios are of the same repetition: a noise that both share does not widen them,
// and what has no partner does not count.
func TestPairedRatio(t *testing.T) {
	r := &report.Results{}
	add(r, "handshake", ours, seven(50)...)
	add(r, "handshake", "gws", 100, 100, 100)
	b := bound{scenario: "handshake", against: "gws", most: 1.10}
	e, _ := b.measure(r)
	if e.N != 3 || e.Low < 0.49 || e.High > 0.51 {
		t.Errorf("%+v: want three ratios around 0.5", e)
	}
}

// judge looks at every bound, and one that fails is enough.
func TestJudge(t *testing.T) {
	fill := func(deflate float64) *report.Results {
		r := &report.Results{Absent: map[string]string{"bun": "no npm"}}
		for _, s := range []string{"echo-1000x1", "echo-100x32", "echo-16k", "deflate", "takeover", "broadcast-16", "handshake", "metrics",
			"wss-echo-1000x1", "wss-echo-100x32", "wss-echo-16k", "wss-handshake", "hub-publish", "hub-protobuf", "hub-plain",
			"hub-return", "cluster-pass", "cluster-publish", "cluster-deliver", "cluster-deliver-history"} {
			mine := 5.0
			if s == "deflate" {
				mine = deflate
			}
			add(r, s, ours, seven(mine)...)
			for _, p := range []string{"rawgnet", "rawepoll", "gws", "gobwas", "gorilla", topicsPeer, "centrifugo", corePeer, "nodes-r1", "nodes-r3"} {
				if s == "metrics" {
					add(r, s, metricsPeer, seven(5.05)...)
					break
				}
				if strings.HasPrefix(s, "cluster-deliver") {
					add(r, s, p, seven(5.3)...)
					continue
				}
				add(r, s, p, seven(100)...)
			}
		}
		for i := range 7 {
			r.Samples = append(r.Samples, report.Sample{Scenario: idleName, Peer: ours, Repetition: i, Load: report.Load{
				Connections: 1000, RSSBefore: 1e6, RSSOpen: 1.9e6, RSSAfter: 2.1e6,
			}}, report.Sample{Scenario: wssIdleName, Peer: ours, Repetition: i, Load: report.Load{
				Connections: 1000, RSSBefore: 1e6, RSSOpen: 8.5e6, RSSAfter: 8.5e6,
			}}, report.Sample{Scenario: hubIdleName, Peer: ours, Repetition: i, Load: report.Load{
				Connections: 1000, RSSBefore: 1e6, RSSOpen: 3.3e6, RSSAfter: 3.4e6,
			}})
			for _, p := range clusterPeers {
				r.Samples = append(r.Samples, report.Sample{Scenario: "cluster-idle", Peer: p, Repetition: i, Load: report.Load{
					Connections: 11, Messages: 1000, RSSBefore: 1e6, RSSOpen: 2.4e6, RSSAfter: 3.4e6,
				}})
			}
		}
		return r
	}
	table, ok := judge(fill(50), nil)
	if !ok {
		t.Errorf("all is far below the bounds:\n%s", table)
	}
	if n := strings.Count(table, "\n"); n != len(bounds)+2 {
		t.Errorf("%d lines for %d bounds", n, len(bounds))
	}
	if !strings.Contains(table, "| idle | bytes of RSS | 1,100 | 700 | 900 |") || !strings.Contains(table, "| 1.22 |") {
		t.Errorf("idle memory is 900, and 1.22 after traffic:\n%s", table)
	}
	if !strings.Contains(table, "| wss-idle | bytes of RSS | 8,192 |  | 7,500 |") {
		t.Errorf("idle memory over TLS is 7,500:\n%s", table)
	}
	if !strings.Contains(table, "| hub-idle | bytes of RSS | 2,500 |  | 2,300 |") || !strings.Contains(table, "| hub-return | seconds until all are back | 5.00 |  | 1.00 |") {
		t.Errorf("a client of the hub has 2,300 bytes, and all are back after 1 s:\n%s", table)
	}
	for _, want := range []string{
		"| cluster-pass | nodes-r1: ms, p99 | 10.00 |  | 7.00 |", "| cluster-pass | nodes-r3: nodes-core | 4.00 |  | 1.00 |",
		"| cluster-deliver | nodes-core: sockmill | 1.10 |  | 1.06 |", "| cluster-idle | nodes-r3: bytes of RSS a channel | 1,536 |  | 1,400 |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("want %s in\n%s", want, table)
		}
	}
	some, _ := judge(fill(50), map[string]bool{"cluster-pass nodes-r1": true, "cluster-pass " + corePeer: true})
	if n := strings.Count(some, "\n"); n != 2+5 { // not the ratio of nodes-r3, of which only one side was measured
		t.Errorf("%d lines:\n%s", n, some)
	}
	if table, ok = judge(fill(95), nil); ok || strings.Count(table, "FAILS") != 1 {
		t.Errorf("deflate is above its bound:\n%s", table)
	}
	if _, ok = judge(&report.Results{}, nil); ok {
		t.Error("nothing was measured, and all is well")
	}
}

// What the bounds need exists.
func TestChecked(t *testing.T) {
	peers, scenarios, err := choose(options{check: true})
	if err != nil || len(peers) != 13 || len(scenarios) != 24 {
		t.Errorf("%d peers, %d scenarios, %v", len(peers), len(scenarios), err)
	}
	peers, scenarios, err = choose(options{quick: true})
	if err != nil || len(peers) != 3 || len(scenarios) != 4 {
		t.Errorf("quick: %d peers, %d scenarios, %v", len(peers), len(scenarios), err)
	}
	if _, _, err = choose(options{peers: "gws,nobody"}); err == nil {
		t.Error("there is no peer nobody")
	}
	if _, _, err = choose(options{scenarios: "echo"}); err == nil {
		t.Error("there is no scenario echo")
	}
}
