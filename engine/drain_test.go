package engine

import (
	"testing"
	"time"
)

// TestDrainStages: every stage is told, in order, and all connections get the code that was chosen.
func TestDrainStages(t *testing.T) {
	s := serve(t, Config{Loops: 2}, Handler{})
	var clients []*client
	for range 4 {
		clients = append(clients, s.dial("/", nil))
	}
	told := make(chan DrainProgress, 100)
	done := make(chan error, 1)
	go func() {
		done <- s.Drain(t.Context(), Drain{Over: 100 * time.Millisecond, Code: 4000, Reason: "moved", Progress: func(p DrainProgress) { told <- p }})
	}()
	for _, c := range clients {
		if e := c.closed(); e == nil || e.Code != 4000 || e.Reason != "moved" {
			t.Errorf("closed with %v", e)
		}
	}
	if err := one(t, done, "the end"); err != nil {
		t.Error(err)
	}
	for want := DrainUnready; want <= DrainEnded; {
		p := one(t, told, "the next stage")
		if p.Total != 4 || p.Stage != want && p.Stage != want-1 {
			t.Errorf("told %v before stage %v", p, want)
		}
		if p.Stage == want {
			want++
		}
	}
}
