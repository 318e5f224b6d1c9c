package engine

import (
	"errors"
	"sync"
)

// Bounds of what may wait between two turns of a loop.
const (
	inboxBytesMax = 64 << 20
	inboxPostsMax = 1 << 20
	arenaKeepMax  = 1 << 20  // an arena that grew above is not kept
	copyBytesMax  = 16 << 10 // larger payloads get memory of their own, so that the arena need not move
	postsPerTurn  = 4096     // then other events of the loop come first
)

// post is one thing that another goroutine asks of a loop.
type post struct {
	c       *Conn
	message outgoing    // to send to c, if it has an opcode; its data may lie in the arena
	at, n   int         // where in the arena
	shared  []byte      // or a frame of message to send to every connection
	slow    bool        // or to close c, which does not read
	closing *CloseError // or how to close c
	do      func()      // or anything else
}

// inbox is the queue of posts of a loop, in the order of their coming. Payloads
// are copied into an arena, so that a post allocates nothing.
type inbox struct {
	mu     sync.Mutex
	posts  []post
	arena  []byte
	bytes  int // of payloads, wherever they lie
	closed bool

	// What the loop works on, in turn with the above.
	taken      []post
	takenArena []byte
	next       int // the first of taken that is not done
}

func (b *inbox) init() { b.posts = make([]post, 0, 16) }

// post queues p and wakes the loop. It fails when the loop has ended.
func (w *worker) post(p post) error { return w.postData(p, nil) }

// postData is post with a payload, which is copied.
func (w *worker) postData(p post, payload []byte) error {
	b := &w.inbox
	b.mu.Lock()
	switch {
	case b.closed:
		b.mu.Unlock()
		return ErrStopped
	case p.do == nil && p.closing == nil && !p.slow && (b.bytes >= inboxBytesMax || len(b.posts) >= inboxPostsMax):
		b.mu.Unlock()
		return ErrBackpressure
	case len(payload) > copyBytesMax:
		p.message.data = append([]byte(nil), payload...)
	default:
		p.message.data = nil
		p.at, p.n = len(b.arena), len(payload)
		b.arena = append(b.arena, payload...)
	}
	b.bytes += len(payload) + len(p.shared)
	b.posts = append(b.posts, p)
	b.mu.Unlock()
	w.loop.Wake()
	return nil
}

// takePosts carries out what was posted, at most postsPerTurn; then it wakes
// the loop again, behind the other events that wait.
func (w *worker) takePosts() {
	b := &w.inbox
	for range postsPerTurn {
		if b.next == len(b.taken) && !b.take() {
			return
		}
		p := &b.taken[b.next]
		b.next++
		w.carryOut(p)
	}
	w.loop.Wake()
}

// take swaps the two halves of the inbox; it reports false if nothing is there.
func (b *inbox) take() bool {
	clear(b.taken)
	b.taken, b.next = b.taken[:0], 0
	if cap(b.taken) > postsPerTurn { // after a flood
		b.taken = nil
	}
	if cap(b.takenArena) > arenaKeepMax {
		b.takenArena = nil
	}
	b.mu.Lock()
	b.posts, b.taken = b.taken, b.posts
	b.arena, b.takenArena = b.takenArena[:0], b.arena
	b.bytes = 0
	b.mu.Unlock()
	return len(b.taken) > 0
}

func (w *worker) carryOut(p *post) {
	switch {
	case p.do != nil:
		p.do()
	case p.shared != nil:
		w.sendAll(p.shared, p.message)
	case p.slow:
		p.c.closeSlow()
	case p.closing != nil:
		_ = p.c.close(p.closing)
	default:
		if p.message.data == nil {
			p.message.data = w.inbox.takenArena[p.at : p.at+p.n]
		}
		p.c.queued.Add(-int64(len(p.message.data)))
		if errors.Is(p.c.send(p.message), ErrClosed) { // meanwhile
			p.c.stats.dropped.add(1)
		}
	}
}

// close ends the inbox, after its loop, and returns what was not carried out.
func (b *inbox) close() []post {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	left := append(b.taken[b.next:], b.posts...)
	b.posts, b.arena = nil, nil
	return left
}
