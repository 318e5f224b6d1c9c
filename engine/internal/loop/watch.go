package loop

import (
	"slices"
	"sync"
)

// readyList gathers the watched sockets that became writable. It is drained
// before anything that programs post, so that a tight poster cannot starve it.
type readyList struct {
	mu           sync.Mutex
	list, shadow []*Socket
}

func (r *readyList) add(s *Socket) {
	r.mu.Lock()
	r.list = append(r.list, s)
	r.mu.Unlock()
}

// take returns the sockets gathered since the last call; the slice is valid
// until the next.
func (r *readyList) take() []*Socket {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.list) == 0 {
		return nil
	}
	clear(r.shadow[:cap(r.shadow)])
	r.list, r.shadow = r.shadow[:0], r.list
	for _, s := range r.shadow {
		s.watchID = 0
	}
	return r.shadow
}

// remove forgets a socket that closes.
func (r *readyList) remove(s *Socket) {
	r.mu.Lock()
	r.list = slices.DeleteFunc(r.list, func(x *Socket) bool { return x == s })
	r.mu.Unlock()
}

// Watch makes the loop's driver see the socket in Woken once it is writable
// again.
func (s *Socket) Watch() error {
	if s.watchID != 0 || s.closing {
		return nil
	}
	s.watched = true
	return s.loop.watcher.watch(s)
}
