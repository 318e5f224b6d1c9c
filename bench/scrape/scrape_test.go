//go:build linux

package main

import (
	"bytes"
	"os"
	"regexp"
	"testing"
	"time"
)

// TestMain is the server, too: run starts its own program.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "-role=server" {
		exit(serve())
		return
	}
	os.Exit(m.Run())
}

func TestRun(t *testing.T) {
	r, err := run(options{conns: 20, pairs: 2, window: 50 * time.Millisecond, every: 10 * time.Millisecond, rate: 1000})
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{
		`20 connections, all of them clients of a hub; a scrape has [1-9]\d\d series, [1-9]\d{4} bytes`, `2 pairs of windows of 50ms, \d+ scrapes`,
		`not scraped turns of loops: \d+ of [1-9]`, `scraped     turns of loops: \d+ of [1-9].*; from Send off the loop to the write: \d+ of [1-9]`,
	} {
		if !regexp.MustCompile(want).Match(out.Bytes()) {
			t.Errorf("no %s in\n%s", want, &out)
		}
	}
}

// What was measured is compared with what must be reached.
func TestCheck(t *testing.T) {
	quick, slow := counts{all: 10, quick: 10}, counts{all: 10, quick: 9}
	pair := func(quiet, scraped time.Duration, turns, more counts) []*window {
		return []*window{{length: time.Second, cpu: quiet, turns: turns}, {scraped: true, length: time.Second, cpu: scraped, took: make([]time.Duration, 10), turns: more}}
	}
	for _, x := range []struct {
		what     string
		quiet    time.Duration
		scraped  time.Duration
		was, now counts
		ok       bool
	}{
		{"4 ms each", 10 * time.Millisecond, 50 * time.Millisecond, quick, quick, true},
		{"more than 5 ms each", 10 * time.Millisecond, 61 * time.Millisecond, quick, quick, false},
		{"a pause more", 0, time.Millisecond, quick, slow, false},
		{"pauses of others", 0, time.Millisecond, slow, slow, true},
	} {
		w := pair(x.quiet, x.scraped, x.was, x.now)
		r := &result{idle: w, busy: w}
		if err := r.check(); (err == nil) != x.ok {
			t.Errorf("%s: %v", x.what, err)
		}
	}
}

func TestReadsHistograms(t *testing.T) {
	s := &scraper{}
	read := func(le0, le1, all string) *seen {
		x, err := s.read("# HELP x\nsockmill_loop_turn_duration_seconds_bucket{le=\"0.0005\"} " + le0 + "\nsockmill_loop_turn_duration_seconds_bucket{le=\"0.001\"} " + le1 +
			"\nsockmill_loop_turn_duration_seconds_bucket{le=\"+Inf\"} " + all + "\nsockmill_loop_turn_duration_seconds_count " + all + "\nsockmill_hub_clients 7\nsockmill_connections{listener=\"a\",phase=\"open\"} 3\n")
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
	before := read("1", "2", "3")
	if before.open != 3 || before.clients != 7 || s.series != 6 {
		t.Errorf("%+v, %d series", before, s.series)
	}
	after := read("1", "7", "8")
	if d := after.turns.since(&before.turns); d.all != 5 || d.quick != 5 || d.longest != .001 {
		t.Errorf("%+v", d)
	}
	if _, err := s.read("sockmill_x y\n"); err == nil {
		t.Error("a value that is no number was read")
	}
}
