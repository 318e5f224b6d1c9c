package engine

import (
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"go.uber.org/zap"
)

// Bounds of what may wait between two turns of a loop.
const (
	inboxBytesMax = 64 << 20
	inboxPostsMax = 1 << 18
	postsKeepMax  = 1 << 12  // a slice of posts that grew above is not kept
	arenaKeepMax  = 1 << 20  // an arena that grew above is not kept
	copyBytesMax  = 16 << 10 // larger payloads get memory of their own, so that the arena need not move
)

// post is one thing that another goroutine asks of a loop.
type post struct {
	kind    postKind
	c       *Conn      // the connection that it is for; nil: none
	do      func()     // of the first four kinds, but for timerPost
	timer   *Timer     // of timerPost
	message outgoing   // of messagePost; its data may lie in the arena
	at, n   int32      // its place and length in the arena
	shared  *broadcast // of the last two kinds
	topic   string     // of fanOutPost; empty: it goes to every connection
}

// postKind says what a post is.
type postKind uint8

const (
	taskPost    postKind = iota // the engine does something for a caller
	ownPost                     // the engine does something for itself: a few for each connection at most, never refused
	timerPost                   // a timer of the program is set: one for each timer, never refused
	programPost                 // the program does something
	messagePost                 // a message goes to a connection
	pipedPost                   // a message of a connection goes to the one that Pipe joined it to: what waits bounds it, never refused
	sharedPost                  // a message that others get too goes to a connection
	fanOutPost                  // a message goes to all connections, or to a topic
)

// alwaysTaken reports whether a full inbox takes the post nevertheless.
func (k postKind) alwaysTaken() bool { return k == ownPost || k == timerPost || k == pipedPost }

// outlivesLoop reports whether a post is still carried out when its loop has ended.
func (k postKind) outlivesLoop() bool { return k == taskPost || k == ownPost }

const postBytes = int64(unsafe.Sizeof(post{}))

// inbox is the queue of posts of a loop, in the order of their coming. Payloads
// are copied into an arena, so that a post allocates nothing.
type inbox struct {
	mu     sync.Mutex
	posts  []post
	arena  []byte
	bytes  atomic.Int64 // of posts and their payloads, wherever these lie; written under mu
	closed bool
	clock  func() time.Duration // nil without Config.Timings
	sends  int                  // messages until the next one that is measured
	since  time.Duration        // when the message of posts[timed] was sent; 0: none is measured
	timed  int

	// The half that the loop works on; take exchanges it with the half above.
	taken      []post
	takenArena []byte
	next       int   // the first of taken that is not done
	takenBytes int64 // what bytes was of it

	takenPayload int64         // of takenBytes, the payloads of posts that are not carried out
	takenSince   time.Duration // since, until that message is carried out
	takenTimed   int
}

// held is the memory of both halves.
func (b *inbox) held() int64 { return b.bytes.Load() + b.takenBytes }

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
	case !p.kind.alwaysTaken() && (b.bytes.Load()-postBytes*int64(len(b.posts)) >= inboxBytesMax || len(b.posts) >= inboxPostsMax):
		b.mu.Unlock()
		return ErrBackpressure
	case p.shared != nil:
		b.bytes.Add(int64(len(p.shared.plain))) // which its payload lies in, or is as long as
	case len(payload) == 0: // data of p's own stays
	case len(payload) > copyBytesMax:
		p.message.data = append([]byte(nil), payload...)
	default:
		p.message.data = nil
		p.at, p.n = int32(len(b.arena)), int32(len(payload))
		b.arena = append(b.arena, payload...)
	}
	b.bytes.Add(postBytes + int64(len(payload)))
	if b.clock != nil && b.since == 0 && (p.message.op != 0 || p.kind == sharedPost) {
		b.time()
	}
	b.posts = append(b.posts, p)
	b.mu.Unlock()
	if w.live.Load() && (!w.loop.On() || !w.turn.takesPosts) {
		w.loop.Wake()
	}
	return nil
}

// takePosts carries out what was posted, until it is enough for one turn; then
// it wakes the loop again, behind the other events that wait.
func (w *worker) takePosts() {
	b := &w.inbox
	for !w.fans.full() {
		if b.next == len(b.taken) && !b.take() {
			return
		}
		p := &b.taken[b.next]
		b.next++
		b.takenPayload -= p.payload()
		if w.carryOut(p); w.enough() {
			break
		}
	}
	w.loop.Wake()
}

// take exchanges the two halves of the inbox. It reports false if nothing waits.
func (b *inbox) take() bool {
	if clear(b.taken); cap(b.taken) > postsKeepMax {
		b.taken = nil
	}
	b.taken, b.next = b.taken[:0], 0
	if cap(b.takenArena) > arenaKeepMax {
		b.takenArena = nil
	}
	b.mu.Lock()
	b.posts, b.taken = b.taken, b.posts
	b.arena, b.takenArena = b.takenArena[:0], b.arena
	b.takenBytes = b.bytes.Swap(0)
	b.takenSince, b.takenTimed, b.since = b.since, b.timed, 0
	b.takenPayload = b.takenBytes - postBytes*int64(len(b.taken))
	b.mu.Unlock()
	return len(b.taken) > 0
}

func (w *worker) carryOut(p *post) {
	defer w.recoverPost(p)
	switch p.kind {
	case taskPost, ownPost:
		p.do()
	case timerPost:
		w.callingAt(onPost, 0)
		p.timer.carryOut()
		w.returned()
	case programPost:
		w.callingAt(onPost, 0)
		p.do()
		w.returned()
	case sharedPost:
		w.noteSince()
		defer p.shared.release()
		p.c.out.queued.Add(-int64(len(p.shared.plain)))
		p.c.catchUp()
		p.c.overtaken(p.c.sendShared(p.shared, false))
	case fanOutPost:
		defer p.shared.release()
		w.deliver(p.shared, p.topic)
	case messagePost, pipedPost:
		w.noteSince()
		if p.message.data == nil {
			p.message.data = w.inbox.takenArena[p.at : p.at+p.n]
		}
		p.c.out.queued.Add(-int64(len(p.message.data)))
		send := p.c.send
		if p.kind == pipedPost {
			send = p.c.sendPiped
		}
		if err := send(p.message); !p.message.op.Control() {
			p.c.overtaken(err)
		}
	}
}

// time notes when the message was sent that is about to be posted, if it is one that is
// measured. b.mu is held.
func (b *inbox) time() {
	if b.sends--; b.sends <= 0 {
		b.sends, b.since, b.timed = sendsEvery, b.clock(), len(b.posts)
	}
}

// noteSince notes when the message that is carried out was sent, if that is measured.
func (w *worker) noteSince() {
	if b := &w.inbox; b.takenSince != 0 && b.takenTimed == b.next-1 {
		w.timings.sent, b.takenSince = b.takenSince, 0
	}
}

// payload is how many bytes of a message the post brings.
func (p *post) payload() int64 {
	if p.shared != nil {
		return int64(len(p.shared.plain))
	}
	return int64(max(int(p.n), len(p.message.data)))
}

// lose counts a message whose loop has ended.
func (p *post) lose() {
	n := p.payload()
	if p.shared != nil {
		p.shared.release()
	}
	if p.c == nil {
		return
	}
	p.c.out.queued.Add(-n)
	if !p.message.op.Control() {
		p.c.overtaken(ErrClosed)
	}
}

// overtaken counts a message that could not be sent when its turn had come, and whose
// sender does not learn of it: it was sent from another goroutine, or published.
func (c *Conn) overtaken(err error) {
	switch {
	case err == nil, errors.Is(err, ErrBackpressure): // counted already
	case errors.Is(err, ErrClosed): // the connection had begun to close
		c.noteSent(1)
		c.noteDiscarded(1)
	default:
		c.noteSent(1)
		c.noteDropped(1)
		c.ep.e.log.Warn("a message was dropped that the protocol of its connection cannot carry",
			zap.Stringer("listener", c.ep.listener), zap.Uint64("conn", c.who.id), zap.Error(err))
	}
}

// recoverPost recovers from a panic of a user's codec or of a posted function.
func (w *worker) recoverPost(p *post) {
	if v := recover(); v != nil {
		if p.c == nil {
			w.e.logPanic(v, 0)
			return
		}
		p.c.panicked(v)
	}
}

// close ends the inbox, after its loop, and returns what was not carried out.
func (b *inbox) close() []post {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	left := slices.Concat(b.taken[b.next:], b.posts)
	b.posts, b.arena, b.taken, b.next, b.takenPayload = nil, nil, nil, 0, 0
	b.bytes.Store(0)
	return left
}
