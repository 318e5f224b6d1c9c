package session

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/engine/internal/limit/limittest"
)

// TestTwoStores: a connection has a session in each, and each waits, is resumed
// and expires by itself.
func TestTwoStores(t *testing.T) {
	type store struct {
		*Store
		token   string
		expired chan any
	}
	var stores [2]store
	given, closed := make(chan any, 2), make(chan error, 3)
	begun := make(chan struct{})
	s := serve(t, engine.Config{Loops: 1}, engine.Handler{
		OnOpen: func(c *engine.Conn) {
			<-begun
			var err error
			for i := range stores {
				x := &stores[i]
				if x.token == "" {
					x.token, err = x.Begin(c, i)
				} else {
					err = x.Resume(c, x.token, func(state any) { given <- state })
				}
				if err != nil {
					t.Error(err)
				}
			}
			_ = c.SendText("open")
		},
		OnClose: func(c *engine.Conn, e *engine.CloseError) { closed <- e },
	})
	for i := range stores {
		x := &stores[i]
		x.expired = make(chan any, 2)
		var err error
		if x.Store, err = New(s.Engine, Config{OnExpire: func(state any) { x.expired <- state }}); err != nil {
			t.Fatal(err)
		}
	}
	close(begun)
	old := s.dial()
	old.expect("open")
	heir := s.dial() // while the old one is there
	heir.expect("open")
	if got := one(t, given, "a state").(int) + one(t, given, "a state").(int); got != 1 {
		t.Errorf("the states add up to %d", got)
	}
	if e := one(t, closed, "OnClose"); !errors.Is(e, ErrResumed) {
		t.Errorf("the old one is closed with %v", e)
	}
	abort(heir.Conn)
	_ = one(t, closed, "OnClose")
	if err := s.end(); err != nil {
		t.Error(err)
	}
	for i := range stores {
		if x := &stores[i]; one(t, x.expired, "OnExpire") != i || len(x.expired) > 0 || x.Len() != 0 {
			t.Errorf("store %d has %d sessions, %d more expired", i, x.Len(), len(x.expired))
		}
	}
	if _, err := New(s.Engine, Config{}); !errors.Is(err, engine.ErrStopped) {
		t.Errorf("a Store for an engine that has ended: %v", err)
	}
}

// TestElsewhere: Begin and Resume fail beside a callback, on another goroutine.
func TestElsewhere(t *testing.T) {
	done, begun := make(chan bool), make(chan *Store, 1)
	s := serve(t, engine.Config{}, engine.Handler{OnOpen: func(c *engine.Conn) {
		defer close(done)
		sessions := <-begun
		token, err := sessions.Begin(c, "state")
		if err != nil {
			t.Errorf("in OnOpen: %v", err)
		}
		if err := sessions.End(c); err != nil {
			t.Error(err)
		}
		var all sync.WaitGroup
		for range 4 { // beside OnOpen
			all.Go(func() {
				if _, err := sessions.Begin(c, "state"); !errors.Is(err, errElsewhere) {
					t.Errorf("Begin elsewhere: %v", err)
				}
				if err := sessions.Resume(c, token, func(any) {}); !errors.Is(err, errElsewhere) {
					t.Errorf("Resume elsewhere: %v", err)
				}
			})
		}
		all.Wait()
	}})
	sessions, err := New(s.Engine, Config{})
	if err != nil {
		t.Fatal(err)
	}
	begun <- sessions
	_ = s.dial()
	<-done
}

// TestGraceInRealTime: the timer of the grace period is the engine's.
func TestGraceInRealTime(t *testing.T) {
	expired, begun := make(chan any, 1), make(chan *Store, 1)
	s := serve(t, engine.Config{}, engine.Handler{OnOpen: func(c *engine.Conn) {
		if _, err := (<-begun).Begin(c, "state"); err != nil {
			t.Error(err)
		}
		_ = c.SendText("open")
	}})
	sessions, err := New(s.Engine, Config{Grace: 10 * time.Millisecond, OnExpire: func(state any) { expired <- state }})
	if err != nil {
		t.Fatal(err)
	}
	begun <- sessions
	c := s.dial()
	c.expect("open")
	abort(c.Conn)
	if got := one(t, expired, "OnExpire"); got != "state" {
		t.Errorf("%v expired", got)
	}
}

// TestLimitsDocumented holds the table of docs/LIMITS.md against the code.
func TestLimitsDocumented(t *testing.T) {
	documented := limittest.Rows(t, "../../docs/LIMITS.md", "## Fields of session.Config")
	for i, field := range new(Config).fields() {
		l := limits[i]
		unit, show, none := "number", limittest.Count, "no"
		if _, ok := field.(*time.Duration); ok {
			unit, show = "time", limittest.Duration
		}
		if l.WithoutLimit != 0 {
			none = "yes"
		}
		want := fmt.Sprintf("| `%s` | %s | %s | %s – %s | %s |", l.Name, unit, show(l.Default), show(l.Min), show(l.Max), none)
		if got := documented[l.Name]; !strings.HasPrefix(got, want) {
			t.Errorf("the documents say %q, the code %q", got, want)
		}
		delete(documented, l.Name)
	}
	for _, row := range documented {
		t.Errorf("in the documents only: %s", row)
	}
}
