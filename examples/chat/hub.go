package main

import (
	"context"
	"sync"
	"time"
)

// roomsMax bounds the memory of the process: a room keeps at most historyBytesMax of messages.
const roomsMax = 200

// hub holds the rooms by name. A room comes with its first member and goes with its last
// session; the hub's lock is taken before a room's.
type hub struct {
	mu      sync.Mutex
	rooms   map[string]*room
	pressed time.Time // when a new room last asked for the place of another
}

func newHub() *hub { return &hub{rooms: map[string]*room{}} }

// find returns nil if there is no such room.
func (h *hub) find(name string) *room {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.rooms[name]
}

// join checks a hello and enters its room, which is made if need be.
func (h *hub) join(q *request, p peer, head [2]int, now time.Time) (*room, *session, error) {
	if err := q.checkHello(); err != nil {
		return nil, nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.rooms[q.Room]
	if r == nil {
		if len(h.rooms) >= roomsMax && now.Sub(h.pressed) >= time.Second {
			h.pressed = now // refused hellos shall not keep the lock, nor new rooms push out many others
			if empty := h.drop(now); len(h.rooms) >= roomsMax {
				delete(h.rooms, empty)
			}
		}
		if len(h.rooms) >= roomsMax {
			return nil, nil, errFull
		}
		r = newRoom()
		h.rooms[q.Room] = r
	}
	s, err := r.enter(q, p, head, now)
	return r, s, err
}

// drop forgets the sessions that are away for linger, and the rooms that nobody is left in. Of
// the others it returns the one that has been empty for longest. The caller holds the lock.
func (h *hub) drop(now time.Time) (empty string) {
	longest := time.Duration(0)
	for name, r := range h.rooms {
		if d := now.Sub(r.forget(now)); d >= linger {
			delete(h.rooms, name)
		} else if d > longest {
			empty, longest = name, d
		}
	}
	return empty
}

// sweep drops what nobody came back to, until ctx ends.
func (h *hub) sweep(ctx context.Context) {
	tick := time.NewTicker(linger / 6)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			h.mu.Lock()
			h.drop(now)
			h.mu.Unlock()
		}
	}
}
