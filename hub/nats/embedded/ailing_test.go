package embedded

import (
	"errors"
	"fmt"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestAiling: what JetStream says of itself is told when it lasts, and at once if it does not mend itself.
func TestAiling(t *testing.T) {
	core, seen := observer.New(zapcore.InfoLevel)
	s := &Server{config: Config{Logger: zap.New(core)}}
	behind, broken := errors.New("behind"), fmt.Errorf("broken: %w", ErrRestart)
	logged := func(want int) {
		t.Helper()
		if n := len(seen.TakeAll()); n != want {
			t.Errorf("%d lines, want %d", n, want)
		}
	}
	s.examined(behind)
	if err := s.ailing.tells(); err != nil {
		t.Errorf("at once: %v", err)
	}
	logged(0)
	s.ailing.since = s.ailing.since.Add(-ailingPatience)
	s.examined(behind)
	if err := s.ailing.tells(); !errors.Is(err, behind) {
		t.Errorf("when it lasts: %v", err)
	}
	logged(1)
	s.examined(nil)
	if err := s.ailing.tells(); err != nil {
		t.Errorf("when it is over: %v", err)
	}
	logged(1)
	s.examined(broken)
	if err := s.ailing.tells(); !errors.Is(err, ErrRestart) {
		t.Errorf("broken: %v", err)
	}
	logged(1)
}

func TestExamine(t *testing.T) {
	t.Parallel()
	if err := start(t, Config{Name: "a"}).examine(); err != nil {
		t.Errorf("alone: %v", err)
	}
	s := three(t)[0]
	poll(t, "three are well", func() bool { return s.examine() == nil })
	stopped := start(t, Config{Name: "b"})
	stopped.server.Shutdown()
	if stopped.examine() == nil {
		t.Error("a server that has ended is well")
	}
}
