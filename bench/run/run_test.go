//go:build linux

package main

import (
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/bench/internal/polling"
	"github.com/sockmill/sockmill/bench/internal/report"
)

// A program runs where it is told to, and we run where we ran before.
func TestStartOn(t *testing.T) {
	var had unix.CPUSet
	if err := unix.SchedGetaffinity(0, &had); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if !had.IsSet(cpu) {
			continue
		}
		var out bytes.Buffer
		cmd := exec.Command("grep", "Cpus_allowed_list", "/proc/self/status")
		cmd.Stdout = &out
		if err := startOn(cpu, cmd); err != nil {
			t.Fatal(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		if got := strings.Fields(out.String()); len(got) != 2 || got[1] != count(float64(cpu)) {
			t.Errorf("started on processor %d, runs on %v", cpu, got)
		}
	}
	var have unix.CPUSet
	if err := unix.SchedGetaffinity(0, &have); err != nil || have != had {
		t.Errorf("%v, affinity %v, was %v", err, have, had)
	}
	var out bytes.Buffer
	cmd := exec.Command("sh", "-c", "echo $GOMAXPROCS; nproc")
	cmd.Stdout = &out
	if err := startOn(anywhere, cmd); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Fatal(err)
	}
	if want := fmt.Sprintf("\n%d\n", had.Count()); out.String() != want {
		t.Errorf("anywhere: GOMAXPROCS and the number of processors are %q, want %q", out.String(), want)
	}
	if err := startOn(1023, exec.Command("true")); err == nil {
		t.Error("started on a processor that is not there")
	}
}

// What a peer says is where the load goes.
func TestAddresses(t *testing.T) {
	for _, c := range []struct{ line, want string }{
		{"echo on 127.0.0.1:81\n", "127.0.0.1:81"},
		{"echo on 127.0.0.1:81 (epoll)\n", "127.0.0.1:81"},
		{"hub on 127.0.0.1:81,127.0.0.1:82,127.0.0.1:83\n", "127.0.0.1:81,127.0.0.1:82,127.0.0.1:83"},
		{"hub on 127.0.0.1:82,127.0.0.1:81\n", ""},
		{"echo on 127.0.0.1:8100\n", ""},
		{"", ""},
	} {
		if got, err := addresses(c.line, "127.0.0.1:81"); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%q: %q, %v; want %q", c.line, got, err, c.want)
		}
	}
}

// Who takes part in the scenarios of several nodes, and what they are told.
func TestNodesArgs(t *testing.T) {
	p := map[string]peer{}
	for _, x := range allPeers {
		p[x.name] = x
	}
	for i := range allScenarios {
		s := &allScenarios[i]
		for _, name := range []string{corePeer, "nodes-r1", "nodes-r3"} {
			if s.can(p[name]) && !strings.HasPrefix(s.name, "cluster-") {
				t.Errorf("%s takes part in %s", name, s.name)
			}
		}
		if s.name != "cluster-presence" {
			continue
		}
		for name, want := range map[string]string{
			ours:       "-mode hub -secret " + hubSecret + " -history 100 -presence",
			corePeer:   "-mode hub -secret " + hubSecret + " -history 0 -presence -replicas 1",
			"nodes-r3": "-mode hub -secret " + hubSecret + " -history 100 -presence -replicas 3",
		} {
			if got := strings.Join(s.serverArgs(p[name], ""), " "); got != want {
				t.Errorf("%s: %s; want %s", name, got, want)
			}
		}
		for name, want := range map[string]string{ours: "-inflight 8", corePeer: "-history=false -sparse", "nodes-r3": "-history=true -sparse"} {
			if got := strings.Join(s.loadArgs(p[name]), " "); !strings.HasSuffix(got, want) {
				t.Errorf("%s: the load gets %s; want %s at the end", name, got, want)
			}
		}
	}
}

// A short run of the real thing: peers are built, started, measured in turn, and
// the results are saved, shown, drawn, and put into a document.
func TestRun(t *testing.T) {
	t.Chdir("..")
	out := t.TempDir()
	o := options{
		peers: "sockmill,rawepoll,gobwas", scenarios: "echo-1000x1,handshake,wss-echo-1000x1,wss-handshake,hub-return,polling", reps: 2, out: out,
		duration: 100 * time.Millisecond, warmUp: 50 * time.Millisecond, rest: 100 * time.Millisecond,
		polling: polling.Options{Readers: 2, Duration: time.Second, Pause: 100 * time.Millisecond},
	}
	o.serverCPU, o.loadCPU = somewhere(t)
	r := &report.Results{}
	if err := measure(context.Background(), o, r); err != nil {
		t.Fatal(err)
	}
	if len(r.Samples) != 2*(3+2+1+1+1) || len(r.Polling) != 3 || len(r.Versions) != 3 {
		t.Errorf("%d samples, %d ways of polling, %d versions", len(r.Samples), len(r.Polling), len(r.Versions))
	}
	for _, s := range r.Samples {
		if s.Failed != "" || s.Load.Messages == 0 || s.Load.ServerCPUNs == 0 {
			t.Errorf("%+v", s)
		}
	}
	if a, b := r.Samples[0].Peer, r.Samples[8].Peer; a == b {
		t.Errorf("%s begins in each repetition", a)
	}
	o.docs = t.TempDir()
	doc := filepath.Join(o.docs, "BENCHMARKS.md")
	if err := os.WriteFile(doc, []byte("before\n"+beginMark+"\nstale figures\n"+endMark+"\nafter\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	var saved report.Results
	if err := load(filepath.Join(out, "results.json"), &saved); err != nil {
		t.Fatal(err)
	}
	if err := show(o, &saved); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before\n", "| rawepoll |", "bench/handshake.svg", "bench/wss-handshake.svg", "bench/hub-return.svg", "| WebSocket |", "\nafter\n"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("the document lacks %q:\n%s", want, b)
		}
	}
	if strings.Contains(string(b), "stale figures") {
		t.Error("the old results are still there")
	}
	for _, name := range []string{"echo-1000x1", "handshake", "wss-echo-1000x1", "wss-handshake", "polling"} {
		wellFormed(t, filepath.Join(o.docs, "bench", name+".svg"))
	}
	o.check = true
	if err := show(o, &saved); err == nil {
		t.Error("most was not measured, and the check says well")
	}
}

// somewhere is two processors that we may run on, or one twice.
func somewhere(t *testing.T) (a, b int) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		t.Fatal(err)
	}
	found := []int{}
	for cpu := range 1024 {
		if set.IsSet(cpu) {
			found = append(found, cpu)
		}
	}
	return found[0], found[len(found)-1]
}

func wellFormed(t *testing.T, path string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(b, []byte("prefers-color-scheme: dark")) {
		t.Errorf("%s: not for the dark", path)
	}
	for d := xml.NewDecoder(bytes.NewReader(b)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
	}
}

// Accounts that contradict each other are not believed.
func TestSuspicious(t *testing.T) {
	for _, c := range []struct {
		cpu, sched int64
		messages   uint64
		want       bool
	}{{1e9, 1e9, 1, false}, {1e9, 0.5e9, 1, false}, {1e9, 1.1e9, 1, true}, {0, 0, 1, true}, {1e9, 1e9, 0, true}} {
		err := suspicious(&report.Load{ServerCPUNs: c.cpu, ServerSchedstatNs: c.sched, Messages: c.messages})
		if (err != nil) != c.want {
			t.Errorf("%+v: %v", c, err)
		}
	}
}

// Absent is told apart from broken.
func TestAbsent(t *testing.T) {
	dir := t.TempDir()
	script := func(name, text string) peer {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o755); err != nil {
			t.Fatal(err)
		}
		return peer{name: name, path: path, installed: true}
	}
	v, absent, err := version(script("here", "echo here lib 1.2.3"))
	if v != "lib 1.2.3" || absent != "" || err != nil {
		t.Errorf("%q, %q, %v", v, absent, err)
	}
	_, absent, err = version(script("gone", "echo gone: no npm >&2; exit 3"))
	if absent != "no npm" || err != nil {
		t.Errorf("%q, %v", absent, err)
	}
	if _, absent, err = version(script("broken", "exit 1")); err == nil {
		t.Errorf("broken is %q", absent)
	}
}

func TestNumbers(t *testing.T) {
	for got, want := range map[string]string{
		duration(812): "812 ns", duration(8123): "8.12 µs", duration(812345): "812 µs", duration(2.5e9): "2.5 s",
		count(3): "3", count(99.94): "99.9", count(1234567): "1,234,567", count(-1234): "-1,234", count(123): "123",
		size(1096): "1,096 B", size(300 << 10): "300 KiB",
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
