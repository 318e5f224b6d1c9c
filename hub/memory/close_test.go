package memory_test

import (
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// TestCloseWaits for whoever is called.
func TestCloseWaits(t *testing.T) {
	b := open(t, memory.Config{})
	r := &busy{called: make(chan struct{})}
	if err := b.Subscribe(ctx, "a", r); err != nil {
		t.Fatal(err)
	}
	go func() { _ = b.Publish(ctx, "a", broker.Publication{}) }()
	<-r.called
	_ = b.Close()
	if !r.done.Load() {
		t.Error("Close has returned while a receiver is called")
	}
}

type busy struct {
	called chan struct{}
	done   atomic.Bool
}

func (r *busy) Deliver(string, broker.Publication) {
	close(r.called)
	for range 1000 {
		runtime.Gosched()
	}
	r.done.Store(true)
}

func (r *busy) Interrupted(string) {}

// TestCloseAmongPublishers: whoever has waited for its turn does not deliver any more.
func TestCloseAmongPublishers(t *testing.T) {
	for range 300 {
		b := open(t, memory.Config{})
		r := &late{called: make(chan struct{})}
		if err := b.Subscribe(ctx, "a", r); err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		for range 8 {
			all.Add(1)
			go func() {
				defer all.Done()
				for b.Publish(ctx, "a", broker.Publication{}) == nil {
				}
			}()
		}
		<-r.called
		_ = b.Close()
		r.over.Store(true)
		all.Wait()
		if r.late.Load() {
			t.Fatal("delivered after Close")
		}
	}
}

type late struct {
	called     chan struct{}
	once       sync.Once
	over, late atomic.Bool
}

func (r *late) Deliver(string, broker.Publication) {
	r.once.Do(func() { close(r.called) })
	runtime.Gosched()
	if r.over.Load() {
		r.late.Store(true)
	}
}

func (r *late) Interrupted(string) {}
