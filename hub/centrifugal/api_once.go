package centrifugal

import (
	"container/list"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"sync"
	"time"
)

// Bounds of the idempotency keys that a node remembers of publications that have no history. Those in a history, the
// History remembers.
const (
	onceLifetime = 5 * time.Minute
	onceMax      = 100_000
)

// once has what is done under a key done once. If it fails, it may be done again.
type once struct {
	now func() time.Time

	mu    sync.Mutex
	byKey map[onceKey]*list.Element
	byAge list.List // of *doing, the oldest in front
}

// onceKey is a hash, so that each key takes the same memory.
type onceKey [sha256.Size]byte

type doing struct {
	key   onceKey
	since time.Time
	done  chan struct{} // closed when what follows is valid
	is    any
	err   error
}

func (o *once) init(now func() time.Time) { o.now, o.byKey = now, map[onceKey]*list.Element{} }

// do calls f, unless an earlier call of it with the same channel and key has succeeded, whose result it returns. It waits for
// one that is under way.
func (o *once) do(ctx context.Context, channel, key string, f func() (any, error)) (any, error) {
	h := sha256.New()
	h.Write(binary.BigEndian.AppendUint32(nil, uint32(len(channel)))) //nolint:gosec // names are short
	h.Write([]byte(channel + key))
	id := onceKey(h.Sum(nil))
	for {
		d, first := o.add(id)
		if first {
			return o.carryOut(d, f)
		}
		select {
		case <-d.done:
			if d.err == nil {
				return d.is, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (o *once) carryOut(d *doing, f func() (any, error)) (any, error) {
	d.err = errUnfinished // it stays if f panics
	defer func() {
		if d.err != nil {
			o.forget(d)
		}
		close(d.done)
	}()
	d.is, d.err = f()
	return d.is, d.err
}

var errUnfinished = errors.New("centrifugal: what was done under the same idempotency key has not come to its end")

func (o *once) forget(d *doing) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if e := o.byKey[d.key]; e != nil && e.Value == d {
		o.remove(e)
	}
}

// add returns what is done, or is to be done now, under a key.
func (o *once) add(key onceKey) (d *doing, first bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	now := o.now()
	for e := o.byAge.Front(); e != nil && now.Sub(e.Value.(*doing).since) >= onceLifetime; e = o.byAge.Front() {
		o.remove(e)
	}
	if e := o.byKey[key]; e != nil {
		return e.Value.(*doing), false
	}
	if o.byAge.Len() >= onceMax {
		o.remove(o.byAge.Front())
	}
	d = &doing{key: key, since: now, done: make(chan struct{})}
	o.byKey[key] = o.byAge.PushBack(d)
	return d, true
}

func (o *once) remove(e *list.Element) { delete(o.byKey, o.byAge.Remove(e).(*doing).key) }
