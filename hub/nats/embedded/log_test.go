package embedded

import (
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestLog: each line has its level, and a flood is bounded.
func TestLog(t *testing.T) {
	core, seen := observer.New(zapcore.DebugLevel)
	l := newServerLog(zap.New(core))
	l.Noticef("n %d", 1)
	l.Warnf("w %d\n", 2)
	l.Errorf("e %d", 3)
	l.Debugf("d")
	l.Tracef("t")
	want := []string{"debug nats-server: n 1", "warn nats-server: w 2", "error nats-server: e 3"}
	for i, e := range seen.TakeAll() {
		if got := e.Level.String() + " " + e.Message; i >= len(want) || got != want[i] {
			t.Errorf("line %d: %s", i, got)
		}
	}
	if l.fatal() != nil {
		t.Error("it is fatal")
	}
	l.Fatalf("f %d", 4)
	l.Fatalf("f %d", 5)
	if err := l.fatal(); err == nil || err.Error() != "f 4" {
		t.Error(err)
	}

	seen.TakeAll()
	for range 1000 {
		l.Warnf("again")
	}
	if n := seen.Len(); n < 10 || n > 2*logBurst {
		t.Errorf("%d lines of 1000", n)
	}
	seen.TakeAll()
	l.limits[1].SetBurst(1000) // as if time had passed
	l.limits[1].SetLimit(1e9)
	l.Warnf("after")
	if all := seen.TakeAll(); len(all) != 1 || all[0].ContextMap()["left_out"] == nil {
		t.Errorf("what was dropped is not told: %v", all)
	}
}

// TestQuiet: at the level of production, a start and a stop leave nothing in the log.
func TestQuiet(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	stop(t, start(t, Config{Name: "a", Logger: zap.New(core)}))
	for _, e := range seen.All() {
		t.Errorf("%s %s", e.Level, e.Message)
	}
}

// TestProgress: what is waited for is named.
func TestProgress(t *testing.T) {
	t.Parallel()
	core, seen := observer.New(zapcore.InfoLevel)
	at := free(t, 3)
	c := node(t, 0, at)
	c.Logger = zap.New(core)
	started := make(chan *Server)
	go func() {
		s, err := Start(within(t), c)
		if err != nil {
			t.Error(err)
		}
		started <- s
	}()
	poll(t, "it tells what it waits for", func() bool { return seen.FilterMessage("nats: waiting for the cluster").Len() > 0 })
	fields := seen.FilterMessage("nats: waiting for the cluster").All()[0].ContextMap()
	missing, _ := fields["missing"].([]any)
	if len(missing) != 2 || !strings.HasPrefix(missing[0].(string), at[1]+": ") || !strings.Contains(missing[0].(string), "connection refused") {
		t.Errorf("%v", fields)
	}
	second := start(t, node(t, 1, at))
	if s := <-started; s != nil {
		until(t, second, "both", func(t state) bool { return len(t.routes) == 1 })
		stop(t, s)
	}
}
