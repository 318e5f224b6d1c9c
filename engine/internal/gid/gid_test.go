package gid

import (
	"sync"
	"testing"
)

func grow(n int) uintptr {
	var frame [1024]byte
	frame[n%len(frame)] = 1
	if n == 0 {
		return Current()
	}
	return grow(n-1) + uintptr(frame[0])*0
}

func TestCurrentTellsGoroutinesApart(t *testing.T) {
	me := Current()
	if me == 0 {
		t.Fatal("this goroutine has no identity")
	}
	const n = 64
	var mu sync.Mutex
	var all, done sync.WaitGroup
	seen := map[uintptr]bool{me: true}
	all.Add(n)
	for range n {
		done.Go(func() {
			before := Current()
			if deep := grow(200); deep != before { // the stack moves, the goroutine does not
				t.Errorf("a goroutine changed from %#x to %#x", before, deep)
			}
			mu.Lock()
			seen[before] = true
			mu.Unlock()
			all.Done()
			all.Wait() // all alive at once
		})
	}
	done.Wait()
	if len(seen) != n+1 {
		t.Errorf("%d goroutines showed %d identities", n+1, len(seen))
	}
	if Current() != me {
		t.Error("the identity of this goroutine changed")
	}
}
