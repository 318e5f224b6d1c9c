package outq

import (
	"errors"
	"fmt"
	"runtime"
	"testing"
)

// congested is a queue whose first message is partly written, and which no
// policy may remove.
func congested(t testing.TB) *rig {
	r := newRig(t)
	f := r.frame(1000)
	_ = r.q.Append(&r.pool, len(f), 1, appends(f))
	r.q.Wrote(&r.pool, 10)
	return r
}

// send is what a connection does for a peer that reads nothing.
func (r *rig) send(policy Policy, key string, frame []byte, limit int) (do Verdict) {
	do, _ = r.q.Decide(&r.pool, policy, key, limit)
	switch do {
	case SendRemovable:
		_ = r.q.AppendRemovable(&r.pool, len(frame), key, appends(frame))
	case TakePlace:
		_ = r.q.ReplaceKey(&r.pool, len(frame), key, appends(frame))
	}
	return do
}

// What a message costs does not depend on how many wait, nor on how many were
// removed: so many chunks are looked at and so much is allocated, at most, for
// each send.
func TestConstantCost(t *testing.T) {
	frame := newRig(t).frame(100)
	each := len(frame) + RemovableBytes
	key := make([]string, 30_000)
	for i := range key {
		key[i] = fmt.Sprint("player ", i)
	}
	for name, tt := range map[string]struct {
		policy Policy
		key    func(i int) string
	}{
		"drop oldest":             {DropOldest, func(int) string { return "" }},
		"replace without a match": {Replace, func(i int) string { return key[i%len(key)] }},
		"replace without a key":   {Replace, func(int) string { return "" }},
	} {
		t.Run(name, func(t *testing.T) {
			for _, waiting := range []int{10, 10_000} {
				r := congested(t)
				limit := r.q.Bytes() + waiting*each
				for i := range waiting {
					r.send(tt.policy, tt.key(i), frame, limit)
				}
				const sends = 160_000
				held, before := r.q.Holds(), r.pool.steps
				var start, end runtime.MemStats
				runtime.ReadMemStats(&start)
				for i := range sends {
					r.send(tt.policy, tt.key(waiting+i), frame, limit)
				}
				runtime.ReadMemStats(&end)
				if n := r.pool.steps - before; n > 2*sends {
					t.Errorf("%d wait: %d steps for %d sends", waiting, n, sends)
				}
				if n := end.Mallocs - start.Mallocs; n > sends/100 {
					t.Errorf("%d wait: %d allocations for %d sends", waiting, n, sends)
				}
				if n := r.q.Holds(); n > held+held/2 || r.q.Messages() != waiting+1 {
					t.Errorf("%d wait: after %d drops the queue holds %d bytes, before %d, with %d messages", waiting, sends, n, held, r.q.Messages())
				}
				r.audit()
				r.q.Free(&r.pool)
				r.balanced()
			}
		})
	}
}

// What the budget is told is what the heap says: chunks, keys and the queue
// itself, beside the buffers; and a queue that shrank gives it back.
func TestHoldsIsTrue(t *testing.T) {
	r := congested(t)
	const messages = 50_000
	keys := make([]string, messages)
	for i := range keys {
		keys[i] = fmt.Sprintf("player %d of this game", i)
	}
	frame := r.frame(20)
	live := func() int {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := live()
	for i := range messages {
		r.send(Replace, keys[i], frame, 1<<30)
	}
	check := func(what string) {
		t.Helper()
		held, heap := r.q.Holds(), live()-before
		both := r.env.Buffers.LentBytes() + r.pool.LentBytes()
		if both < held || both > held+held/5 { // Buffers knows each buffer by an entry of its own
			t.Errorf("%s: the queue holds %d bytes, the loop has lent %d", what, held, both)
		}
		if heap > both+both/20+500<<10 {
			t.Errorf("%s: the heap has %d bytes more, the loop has lent %d", what, heap, both)
		}
	}
	check("full")
	for r.q.Messages() > 100 {
		n := 0
		for _, p := range r.q.Pieces(nil, 64) {
			n += len(p)
		}
		r.q.Wrote(&r.pool, n)
	}
	if n := r.q.Holds(); n > 200<<10 {
		t.Errorf("%d bytes are held for 100 messages", n)
	}
	r.env.Buffers.Trim()
	check("nearly empty")
	runtime.KeepAlive(keys)
	r.q.Free(&r.pool)
	r.balanced()
}

// A frame that cannot be encoded leaves the queue as it was, also if the codec
// panics, and one that outgrows its room does no harm.
func TestEncodeFails(t *testing.T) {
	boom := errors.New("boom")
	fails := map[string]func([]byte) ([]byte, error){
		"an error":               func([]byte) ([]byte, error) { return nil, boom },
		"an error, and appended": func(dst []byte) ([]byte, error) { return append(dst, make([]byte, 5000)...), boom },
		"a panic":                func([]byte) ([]byte, error) { panic(boom) },
	}
	for name, fail := range fails {
		for how, put := range map[string]func(*rig) error{
			"Append to an empty queue": func(r *rig) error { r.q.Free(&r.pool); return r.q.Append(&r.pool, 100, 1, fail) },
			"Append":                   func(r *rig) error { return r.q.Append(&r.pool, 100, 1, fail) },
			"AppendRemovable":          func(r *rig) error { return r.q.AppendRemovable(&r.pool, 100, "other", fail) },
			"ReplaceKey":               func(r *rig) error { return r.q.ReplaceKey(&r.pool, 100, "key", fail) },
		} {
			r := congested(t)
			r.send(Replace, "key", r.frame(10), 1<<20)
			var want string
			func() {
				defer func() { _ = recover() }()
				if how == "Append to an empty queue" {
					r.q.Free(&r.pool)
				}
				want = fmt.Sprint(r.q.Pieces(nil, 64))
				if err := put(r); !errors.Is(err, boom) {
					t.Errorf("%s, %s: %v", how, name, err)
				}
			}()
			if got := fmt.Sprint(r.q.Pieces(nil, 64)); got != want {
				t.Errorf("%s, %s: the queue has changed", how, name)
			}
			r.audit()
			r.q.Free(&r.pool)
			r.balanced()
		}
	}
	r := newRig(t)
	large := make([]byte, 100_000)
	for range 3 {
		_ = r.q.Append(&r.pool, 1, 1, appends(large))
		_ = r.q.AppendRemovable(&r.pool, 1, "", appends(large))
	}
	if r.audit(); r.q.Bytes() != 6*len(large)+3*RemovableBytes {
		t.Errorf("%d bytes wait", r.q.Bytes())
	}
	r.q.Free(&r.pool)
	r.balanced()
}

// TestAccountsPanic: a queue that does not balance is not used again.
func TestAccountsPanic(t *testing.T) {
	for name, spoil := range map[string]func(*list){
		"bytes":     func(l *list) { l.bytes++ },
		"messages":  func(l *list) { l.messages-- },
		"removable": func(l *list) { l.removable++ },
		"keys":      func(l *list) { l.keys.set(&chunk{key: "left"}) },
	} {
		r := congested(t)
		spoil(r.q.list)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: nothing noticed", name)
				}
			}()
			r.q.Free(&r.pool)
		}()
	}
}

// BenchmarkSend is a send to a peer that does not read, after 160,000 others.
func BenchmarkSend(b *testing.B) {
	for name, policy := range map[string]Policy{"drop oldest": DropOldest, "replace without a match": Replace} {
		b.Run(name, func(b *testing.B) {
			r := congested(b)
			frame := r.frame(100)
			limit := r.q.Bytes() + 1000*(len(frame)+RemovableBytes)
			for range 160_000 {
				r.send(policy, "", frame, limit)
			}
			b.ReportAllocs()
			for b.Loop() {
				r.send(policy, "", frame, limit)
			}
		})
	}
}
