package logs

import (
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// testClock is a zapcore.Clock that a test sets.
type testClock struct{ now time.Time }

func (c *testClock) Now() time.Time                         { return c.now }
func (c *testClock) NewTicker(d time.Duration) *time.Ticker { return time.NewTicker(d) }

func observed(level zapcore.Level) (*zap.Logger, *observer.ObservedLogs, *testClock) {
	clock := &testClock{time.Unix(1e9, 0)}
	core, logs := observer.New(level)
	return Bounded(zap.New(core, zap.WithClock(clock))), logs, clock
}

func TestBounded(t *testing.T) {
	log, logs, clock := observed(zap.InfoLevel)
	for range 100 {
		log.Debug("nobody listens")
		log.Warn("flood")
		log.With(zap.Int("conn", 1)).Warn("flood") // counted together
	}
	if n := logs.Len(); n != BurstMax {
		t.Fatalf("%d lines", n)
	}
	log.Error("flood")
	log.Warn("another message")
	if n := logs.Len(); n != BurstMax+2 {
		t.Errorf("%d lines: another level and another message are not kept back", n)
	}
	logs.TakeAll()
	clock.now = clock.now.Add(time.Second / PerSecond)
	log.Warn("flood", zap.Int("conn", 2))
	log.Warn("flood")
	all := logs.TakeAll()
	if len(all) != 1 || fmt.Sprint(all[0].ContextMap()) != fmt.Sprintf("map[conn:2 left_out:%d]", 200-BurstMax) {
		t.Errorf("a second later: %v", all)
	}
	clock.now = clock.now.Add(time.Hour)
	for range 100 {
		log.Warn("flood")
	}
	if n := logs.Len(); n != BurstMax {
		t.Errorf("%d lines after an hour", n)
	}
}

func TestKind(t *testing.T) {
	log, logs, _ := observed(zap.DebugLevel)
	for i := range 100 {
		Kind(log, "one").Warn(fmt.Sprint("message ", i))
		Kind(log, "two").Named("x").Warn("message")
	}
	if n := logs.Len(); n != 2*BurstMax {
		t.Errorf("%d lines of two kinds", n)
	}
}

// TestKindsAreBounded: messages that are all different cannot fill the memory, nor
// the log.
func TestKindsAreBounded(t *testing.T) {
	log, logs, _ := observed(zap.DebugLevel)
	for i := range 2 * kindsMax {
		log.Warn(fmt.Sprint("message ", i))
	}
	if n := logs.Len(); n != kindsMax+BurstMax {
		t.Errorf("%d lines", n)
	}
}

// TestBoundedOnce: a logger that is bounded already is not bounded twice, or both
// would tell of the same lines.
func TestBoundedOnce(t *testing.T) {
	log, _, _ := observed(zap.DebugLevel)
	if again := Bounded(log.Named("again")); again.Core() != log.Core() {
		t.Error("it is bounded twice")
	}
}

// TestDefault: a nil logger writes warnings and errors to standard error.
func TestDefault(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	stderr := os.Stderr
	os.Stderr = w
	log := Bounded(nil)
	os.Stderr = stderr
	log.Info("not this")
	log.Warn("a warning", zap.String("reason", "on purpose"), zap.Duration("held", time.Second))
	log.Error("an error")
	_ = w.Close()
	b, _ := io.ReadAll(r)
	lines := strings.Split(string(b), "\n")
	if len(lines) != 3 || !strings.HasSuffix(lines[0], ` WARN a warning {"reason": "on purpose", "held": "1s"}`) || !strings.HasSuffix(lines[1], ` ERROR an error`) {
		t.Errorf("%q", b)
	}
}
