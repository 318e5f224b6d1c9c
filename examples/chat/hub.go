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
	mu    sync.Mutex
	rooms map[string]*room
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
		if len(h.rooms) >= roomsMax {
			h.drop(now, 0)
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

// drop forgets the sessions that are away for longer than wait, and the rooms that nobody is
// left in. The caller holds the lock.
func (h *hub) drop(now time.Time, wait time.Duration) {
	for name, r := range h.rooms {
		if r.forget(now, wait) {
			delete(h.rooms, name)
		}
	}
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
			h.drop(now, linger)
			h.mu.Unlock()
		}
	}
}
