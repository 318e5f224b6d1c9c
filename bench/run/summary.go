//go:build linux

package main

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/sockmill/sockmill/bench/internal/report"
	"github.com/sockmill/sockmill/bench/internal/stats"
)

// series are the samples of one peer in one scenario.
type series struct {
	peer   string
	of     map[int]*report.Load // by repetition
	failed []string
}

// values are one number of each sample, by repetition.
func (s *series) values(f func(*report.Load) float64) map[int]float64 {
	m := map[int]float64{}
	for repetition, l := range s.of {
		m[repetition] = f(l)
	}
	return m
}

// estimate is the median of one number.
func (s *series) estimate(f func(*report.Load) float64) stats.Estimate {
	var xs []float64
	for _, x := range s.values(f) {
		xs = append(xs, x)
	}
	return stats.Of(xs)
}

// median is that without its interval.
func (s *series) median(f func(*report.Load) float64) float64 { return s.estimate(f).Median }

// gather finds the series of a scenario, the one with the least of its figure first.
func gather(r *report.Results, s *scenario) (all []*series) {
	by := map[string]*series{}
	for i := range r.Samples {
		x := &r.Samples[i]
		if x.Scenario != s.name {
			continue
		}
		if by[x.Peer] == nil {
			by[x.Peer] = &series{peer: x.Peer, of: map[int]*report.Load{}}
			all = append(all, by[x.Peer])
		}
		if x.Failed != "" {
			by[x.Peer].failed = append(by[x.Peer].failed, x.Failed)
		} else {
			by[x.Peer].of[x.Repetition] = &x.Load
		}
	}
	slices.SortStableFunc(all, func(a, b *series) int {
		if len(a.of) == 0 || len(b.of) == 0 {
			return cmp.Compare(len(b.of), len(a.of))
		}
		return cmp.Compare(a.median(s.figure.of), b.median(s.figure.of))
	})
	return all
}

// find is the series of a peer, or nil.
func find(all []*series, peer string) *series {
	for _, s := range all {
		if s.peer == peer && len(s.of) > 0 {
			return s
		}
	}
	return nil
}

// ratio is ours to another's, of the same repetitions.
func ratio(of, to *series, f func(*report.Load) float64) stats.Estimate {
	return stats.Of(stats.Paired(of.values(f), to.values(f)))
}

// column is a column of a table beside those of the figure.
type column struct {
	title string
	of    func(*report.Load) float64
	show  func(float64) string
}

// columns are those that say something in a scenario.
func columns(s *scenario) []column {
	latency := func(title string, of func(*report.Latency) int64) column {
		return column{title, func(l *report.Load) float64 { return float64(of(&l.Latency)) }, duration}
	}
	perConnection := func(of func(l *report.Load) int64) func(l *report.Load) float64 {
		return func(l *report.Load) float64 { return float64(of(l)-l.RSSBefore) / float64(l.Connections) }
	}
	rate := column{"a second", func(l *report.Load) float64 { return float64(l.Messages) / float64(l.WindowNs) * 1e9 }, count}
	cpu := column{"CPU for each", perMessage.of, duration}
	p50 := latency("p50", func(l *report.Latency) int64 { return l.P50 })
	p99 := latency("p99", func(l *report.Latency) int64 { return l.P99 })
	p999 := latency("p99.9", func(l *report.Latency) int64 { return l.P999 })
	most := latency("max", func(l *report.Latency) int64 { return l.Max })
	busy := []column{
		{"server busy", func(l *report.Load) float64 { return float64(l.ServerCPUNs) / float64(l.WindowNs) }, percent},
		{"load busy", func(l *report.Load) float64 { return float64(l.LoadCPUNs) / float64(l.WindowNs) }, percent},
	}
	switch s.name {
	case idleName, wssIdleName, hubIdleName:
		return []column{
			{"after a message each", usedBytes, size},
			{"of before", func(l *report.Load) float64 { return usedBytes(l) / idleBytes(l) }, percent},
			cpu,
		}
	case "cluster-idle":
		return []column{
			{"after a publication each", func(l *report.Load) float64 { return float64(l.RSSAfter-l.RSSBefore) / float64(max(1, l.Messages)) }, size},
			{"CPU of all nodes per subscription", perMessage.of, duration},
		}
	case "burst", "hub-return":
		return []column{p50, p99, cpu, {"tried again", func(l *report.Load) float64 { return float64(l.Retries) }, count}}
	case "handshake", "wss-handshake":
		return append([]column{rate, {"for a CPU second", func(l *report.Load) float64 { return 1e9 / perMessage.of(l) }, count}, p50, p99, p999, most}, busy...)
	}
	all := []column{
		rate,
		{"MB/s", func(l *report.Load) float64 { return float64(l.BytesIn+l.BytesOut) / float64(l.WindowNs) * 1e3 }, count},
		p50, p99, p999, most,
		{"RSS a connection", perConnection(func(l *report.Load) int64 { return l.RSSOpen }), size},
		{"after traffic", perConnection(func(l *report.Load) int64 { return l.RSSAfter }), size},
	}
	if s.deflate {
		all = append(all, column{"bytes of a reply", wireBytes, count})
	}
	return append(all, busy...)
}

// wireBytes is what a reply takes on the wire.
func wireBytes(l *report.Load) float64 { return float64(l.BytesIn) / float64(max(1, l.Messages)) }

// table is a scenario in Markdown.
func table(r *report.Results, s *scenario) string {
	all := gather(r, s)
	first := find(all, ours)
	cols := columns(s)
	var b strings.Builder
	fmt.Fprintf(&b, "| | %s | 90 %% interval | %s is at", s.figure.title, ours)
	for _, c := range cols {
		fmt.Fprintf(&b, " | %s", c.title)
	}
	fmt.Fprintf(&b, " |\n|---|--:|--:|--:%s|\n", strings.Repeat("|--:", len(cols)))
	for _, x := range all {
		if len(x.of) == 0 {
			continue
		}
		e := x.estimate(s.figure.of)
		fmt.Fprintf(&b, "| %s | %s | %s – %s | ", x.peer, s.figure.show(e.Median), s.figure.show(e.Low), s.figure.show(e.High))
		if first != nil && x != first {
			q := ratio(first, x, s.figure.of)
			fmt.Fprintf(&b, "%.2f (%.2f – %.2f)", q.Median, q.Low, q.High)
		}
		for _, c := range cols {
			fmt.Fprintf(&b, " | %s", c.show(x.median(c.of)))
		}
		b.WriteString(" |\n")
	}
	for _, x := range all {
		if len(x.failed) > 0 {
			fmt.Fprintf(&b, "\n%s: %d of %d repetitions do not count; results.json says why.\n", x.peer, len(x.failed), len(x.failed)+len(x.of))
		}
	}
	if s.deflate && first != nil {
		b.WriteString(wireDifference(all, first))
	}
	return b.String()
}

// wireDifference names whoever compresses by more than 5 % more or less than we do.
func wireDifference(all []*series, first *series) string {
	var off []string
	mine := first.median(wireBytes)
	for _, x := range all {
		if len(x.of) == 0 {
			continue
		}
		if d := x.median(wireBytes)/mine - 1; d > 0.05 || d < -0.05 {
			off = append(off, fmt.Sprintf("%s (%+.1f %%)", x.peer, 100*d))
		}
	}
	if len(off) == 0 {
		return "\nBytes on the wire: all within 5 % of " + ours + ".\n"
	}
	return "\nBytes on the wire: more than 5 % from " + ours + ": " + strings.Join(off, ", ") + "; the others are within.\n"
}

// pollingTable is the scenario polling in Markdown.
func pollingTable(rows []report.Polling) string {
	var b strings.Builder
	b.WriteString("| | bytes a message | p50 | p99 | max | requests | messages |\n|---|--:|--:|--:|--:|--:|--:|\n")
	for _, p := range rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %d | %d |\n", p.Way, count(p.BytesMessage),
			duration(float64(p.P50)), duration(float64(p.P99)), duration(float64(p.Max)), p.Requests, p.Delivered)
	}
	return b.String()
}

// summary is the whole run in Markdown.
func summary(r *report.Results, chart func(name string) string) string {
	var b strings.Builder
	m := &r.Machine
	fmt.Fprintf(&b, "%s, %d processors, %s of memory, Linux %s, %s; server on processor %d, load on processor %d; load average before: %s.\n",
		m.CPU, m.CPUs, m.Memory, m.Kernel, m.Go, m.Server, m.Load, m.LoadAvg)
	fmt.Fprintf(&b, "%s, took %s: `%s`\n\n", r.Began.UTC().Format(time.DateOnly), r.Took, r.Command)
	if n := repetitions(r); n < 5 {
		fmt.Fprintf(&b, "With %d repetitions the interval is the whole range, and holds the median with %.0f %% only.\n\n",
			n, 100*(1-math.Pow(2, float64(1-n))))
	}
	b.WriteString("| peer | version |\n|---|---|\n")
	for _, p := range allPeers {
		if v, ok := r.Versions[p.name]; ok {
			fmt.Fprintf(&b, "| %s | %s |\n", p.name, v)
		}
		if why, ok := r.Absent[p.name]; ok {
			fmt.Fprintf(&b, "| %s | absent: %s |\n", p.name, why)
		}
	}
	for i := range allScenarios {
		s := &allScenarios[i]
		if s.name == pollingName {
			if len(r.Polling) > 0 {
				fmt.Fprintf(&b, "\n### %s\n\n%s%s", s.title, chart(s.name), pollingTable(r.Polling))
			}
			continue
		}
		if len(gather(r, s)) > 0 {
			fmt.Fprintf(&b, "\n### %s\n\n%s%s", s.title, chart(s.name), table(r, s))
		}
	}
	return b.String()
}

func repetitions(r *report.Results) (n int) {
	for i := range r.Samples {
		n = max(n, r.Samples[i].Repetition+1)
	}
	return n
}

// duration shows nanoseconds.
func duration(ns float64) string {
	switch {
	case ns < 1e3:
		return fmt.Sprintf("%.0f ns", ns)
	case ns < 1e6:
		return fmt.Sprintf("%.3g µs", ns/1e3)
	case ns < 1e9:
		return fmt.Sprintf("%.3g ms", ns/1e6)
	}
	return fmt.Sprintf("%.3g s", ns/1e9)
}

// size shows bytes.
func size(n float64) string {
	if n < 100e3 {
		return fmt.Sprintf("%s B", count(n))
	}
	return fmt.Sprintf("%s KiB", count(n/1024))
}

// count shows a number, with commas.
func count(n float64) string {
	if n < 0 {
		return "-" + count(-n)
	}
	if n < 100 {
		return strings.TrimSuffix(fmt.Sprintf("%.1f", n), ".0")
	}
	s := fmt.Sprintf("%.0f", n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

func percent(x float64) string { return fmt.Sprintf("%.0f %%", 100*x) }
