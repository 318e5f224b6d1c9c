//go:build linux

package main

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/sockmill/sockmill/bench/internal/report"
	"github.com/sockmill/sockmill/bench/internal/stats"
)

// bound is a line of what must be reached.
type bound struct {
	scenario string
	peer     string // whose figure; "": ours
	against  string // a peer; "": the figure itself
	most     float64
	goal     float64 // 0: none
	of       func(*report.Load) float64
	what     string
}

// bounds are what sockmill must reach, and what it wants to. Without a most there
// is only a goal, which fails nobody.
var bounds = []bound{
	{scenario: "echo-1000x1", against: "rawgnet", most: 1.10, goal: 1.00},
	{scenario: "echo-1000x1", against: "gws", most: 0.80},
	{scenario: "echo-1000x1", against: "bun", most: 1.05},
	{scenario: "echo-1000x1", against: "rawepoll", goal: 1.05},
	{scenario: "echo-100x32", against: "rawgnet", most: 1.15, goal: 1.00},
	{scenario: "echo-100x32", against: "gws", most: 0.06},
	{scenario: "echo-100x32", against: "bun", most: 0.60},
	{scenario: "echo-100x32", against: "rawepoll", goal: 1.05},
	{scenario: "metrics", peer: metricsPeer, against: ours, most: 1.02},
	{scenario: "echo-16k", against: "rawepoll", most: 1.35, goal: 1.05},
	{scenario: "echo-16k", against: "gws", most: 0.65},
	{scenario: "deflate", against: "gws", most: 0.90},
	{scenario: "takeover", against: "gws", most: 0.90},
	{scenario: "broadcast-16", against: "gws", most: 0.15},
	{scenario: "handshake", against: "gws", most: 1.10},
	{scenario: "handshake", against: "gobwas", goal: 1.00},
	{scenario: idleName, most: 1100, goal: 700, of: idleBytes, what: "bytes of RSS"},
	{scenario: idleName, most: 1.25, what: "RSS after traffic to before", of: func(l *report.Load) float64 {
		return usedBytes(l) / idleBytes(l)
	}},
	{scenario: "wss-echo-1000x1", against: "gorilla", most: 0.70},
	{scenario: "wss-echo-100x32", against: "gorilla", most: 0.20},
	{scenario: "wss-echo-16k", against: "gorilla", most: 0.85},
	{scenario: "wss-handshake", against: "gorilla", most: 1.05},
	{scenario: wssIdleName, most: 8 << 10, of: idleBytes, what: "bytes of RSS"},
	{scenario: "hub-publish", against: topicsPeer, most: 1.15},
	{scenario: "hub-publish", against: "centrifugo", most: 0.50},
	{scenario: "hub-protobuf", against: topicsPeer, most: 1.15},
	{scenario: "hub-protobuf", against: "centrifugo", most: 0.50},
	{scenario: "hub-plain", against: topicsPeer, most: 1.15},
	{scenario: "hub-plain", against: "centrifugo", most: 0.50},
	{scenario: hubIdleName, most: 2500, of: idleBytes, what: "bytes of RSS"},
	{scenario: "hub-return", most: 5, what: "seconds until all are back", of: func(l *report.Load) float64 {
		return float64(l.WindowNs) / 1e9
	}},
	{scenario: "cluster-pass", peer: corePeer, most: 2, of: p50, what: "ms, p50"},
	{scenario: "cluster-pass", peer: corePeer, most: 10, of: p99, what: "ms, p99"},
	{scenario: "cluster-pass", peer: "nodes-r1", most: 2, of: p50, what: "ms, p50"},
	{scenario: "cluster-pass", peer: "nodes-r1", most: 10, of: p99, what: "ms, p99"},
	{scenario: "cluster-pass", peer: "nodes-r3", most: 2, of: p50, what: "ms, p50"},
	{scenario: "cluster-pass", peer: "nodes-r3", most: 10, of: p99, what: "ms, p99"},
	{scenario: "cluster-pass", peer: "nodes-r1", against: corePeer, most: 4},
	{scenario: "cluster-pass", peer: "nodes-r3", against: corePeer, most: 4},
	{scenario: "cluster-publish", peer: corePeer, most: 2, of: p50, what: "ms, p50"},
	{scenario: "cluster-publish", peer: corePeer, most: 10, of: p99, what: "ms, p99"},
	{scenario: "cluster-publish", peer: "nodes-r1", most: 2, of: p50, what: "ms, p50"},
	{scenario: "cluster-publish", peer: "nodes-r1", most: 10, of: p99, what: "ms, p99"},
	{scenario: "cluster-publish", peer: "nodes-r3", most: 2, of: p50, what: "ms, p50"},
	{scenario: "cluster-publish", peer: "nodes-r3", most: 10, of: p99, what: "ms, p99"},
	{scenario: "cluster-publish", peer: "nodes-r1", against: corePeer, most: 4},
	{scenario: "cluster-publish", peer: "nodes-r3", against: corePeer, most: 4},
	{scenario: "cluster-deliver", peer: corePeer, against: ours, most: 1.10},
	{scenario: "cluster-deliver-history", peer: "nodes-r1", against: ours, most: 1.10},
	{scenario: "cluster-deliver-history", peer: "nodes-r3", against: ours, most: 1.10},
	{scenario: "cluster-idle", peer: corePeer, most: 1536, of: channelBytes, what: "bytes of RSS a channel"},
	{scenario: "cluster-idle", peer: "nodes-r1", most: 1536, of: channelBytes, what: "bytes of RSS a channel"},
	{scenario: "cluster-idle", peer: "nodes-r3", most: 1536, of: channelBytes, what: "bytes of RSS a channel"},
}

func p50(l *report.Load) float64 { return float64(l.Latency.P50) / 1e6 }
func p99(l *report.Load) float64 { return float64(l.Latency.P99) / 1e6 }

// judge compares a run with the bounds and returns a table, and whether none
// fails. A bound fails if the whole interval lies above it. One whose peer is
// absent is told, and fails nobody; one that should have been measured and was not fails.
// Only, unless it is nil, has "scenario peer" for whoever was measured: bounds of others are not looked at.
func judge(r *report.Results, only map[string]bool) (table string, ok bool) {
	var b strings.Builder
	ok = true
	b.WriteString("| scenario | against | at most | goal | measured | 90 % interval | verdict |\n|---|---|--:|--:|--:|--:|---|\n")
	for i := range bounds {
		x := &bounds[i]
		if only != nil && !(only[x.scenario+" "+cmp.Or(x.peer, ours)] && only[x.scenario+" "+cmp.Or(x.against, x.peer, ours)]) {
			continue
		}
		e, missing := x.measure(r)
		verdict, fails := x.verdict(e, missing)
		ok = ok && !fails
		limit := func(y float64) string {
			if y == 0 {
				return ""
			}
			return x.show(y)
		}
		measured, interval := "", ""
		if missing == "" {
			measured, interval = x.show(e.Median), x.show(e.Low)+" – "+x.show(e.High)
		}
		against := x.against
		if against == "" {
			against = x.what
		}
		if x.peer != "" {
			against = x.peer + ": " + against
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s |\n",
			x.scenario, against, limit(x.most), limit(x.goal), measured, interval, verdict)
	}
	return b.String(), ok
}

// measure is the estimate that the bound is about. missing says why there is
// none; it begins with "absent" if that is nobody's fault.
func (x *bound) measure(r *report.Results) (e stats.Estimate, missing string) {
	who := cmp.Or(x.peer, ours)
	for _, p := range []string{who, x.against} {
		if why, absent := r.Absent[p]; absent {
			return e, "absent: " + why
		}
	}
	for i := range allScenarios {
		s := &allScenarios[i]
		if s.name != x.scenario {
			continue
		}
		all := gather(r, s)
		mine := find(all, who)
		if mine == nil {
			return e, who + " was not measured"
		}
		if x.against == "" {
			return mine.estimate(x.of), ""
		}
		other := find(all, x.against)
		if other == nil {
			return e, x.against + " was not measured"
		}
		if e = ratio(mine, other, s.figure.of); e.N == 0 {
			return e, "never measured in the same repetition"
		}
		return e, ""
	}
	return e, "there is no such scenario"
}

func (x *bound) verdict(e stats.Estimate, missing string) (verdict string, fails bool) {
	switch {
	case strings.HasPrefix(missing, "absent"):
		return missing, false
	case missing != "":
		return "FAILS: " + missing, x.most > 0
	case x.most > 0 && e.Low > x.most:
		return "FAILS", true
	case x.most > 0 && e.High > x.most:
		return "not refuted", false
	case x.goal > 0 && e.High <= x.goal:
		return "reached, the goal too", false
	case x.most == 0:
		return "not the goal", false
	}
	return "reached", false
}

func (x *bound) show(y float64) string {
	if y >= 100 {
		return count(y)
	}
	return fmt.Sprintf("%.2f", y)
}

// checked are the scenarios and peers that the bounds need.
func checked() (scenarios, peers map[string]bool) {
	scenarios, peers = map[string]bool{}, map[string]bool{ours: true}
	for i := range bounds {
		scenarios[bounds[i].scenario] = true
		for _, p := range []string{bounds[i].peer, bounds[i].against} {
			if p != "" {
				peers[p] = true
			}
		}
	}
	return scenarios, peers
}
