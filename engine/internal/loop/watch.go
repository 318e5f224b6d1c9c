package loop

import (
	"slices"
	"sync"
)

// readySocket is a socket with what the watcher found.
type readySocket struct {
	s *Socket
	e events
}

// readyList gathers the watched sockets of which the watcher has news. It is drained
// before anything that programs post, so that a tight poster cannot starve it.
type readyList struct {
	mu    sync.Mutex
	list  []readySocket
	taken []*Socket
}

func (r *readyList) add(s *Socket, e events) {
	r.mu.Lock()
	r.list = append(r.list, readySocket{s, e})
	r.mu.Unlock()
}

// take returns the sockets gathered since the last call; the slice is valid
// until the next. What else they await is watched on.
func (r *readyList) take() []*Socket {
	r.mu.Lock()
	clear(r.taken)
	r.taken = r.taken[:0]
	for _, x := range r.list {
		x.s.watchID, x.s.told = 0, x.e
		x.s.awaited &^= x.e
		r.taken = append(r.taken, x.s)
	}
	clear(r.list)
	r.list = r.list[:0]
	r.mu.Unlock()
	for _, s := range r.taken {
		if s.awaited != 0 && !s.closing {
			_ = s.loop.sys.Watch(s) // fails for a broken socket only, and then the loop sees that
		}
	}
	return r.taken
}

// remove forgets a socket that closes.
func (r *readyList) remove(s *Socket) {
	r.mu.Lock()
	r.list = slices.DeleteFunc(r.list, func(x readySocket) bool { return x.s == s })
	r.mu.Unlock()
}

// events is a set of what the watcher tells.
type events uint8

const (
	writable events = 1 << iota
	hangup
)

// Watch makes the loop's driver see the socket in Woken once it is writable
// again.
func (s *Socket) Watch() error { return s.await(writable) }

// WatchHangup makes the driver see the socket in Woken once the peer has ended
// its stream, although reading is paused. Not every system can tell.
func (s *Socket) WatchHangup() error { return s.await(hangup) }

// HungUp reports, in Woken, that the peer has ended its stream.
func (s *Socket) HungUp() bool { return s.told&hangup != 0 }

// AwaitsWritable reports whether a Watch is under way: until its news, a Write
// would be in vain.
func (s *Socket) AwaitsWritable() bool { return s.watchID != 0 && s.awaited&writable != 0 }

func (s *Socket) await(e events) error {
	if s.awaited&e != 0 && s.watchID != 0 || s.closing {
		return nil
	}
	s.watched = true
	s.awaited |= e
	return s.loop.sys.Watch(s)
}
