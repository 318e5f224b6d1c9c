package main

import (
	"crypto/rand"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// Bounds of one room.
const (
	membersMax      = 200
	sessionsMax     = 2 * membersMax // those who are here and those who may come back
	historyMax      = 500            // messages kept for whoever missed them
	historyBytesMax = 256 << 10      // so that all of them fit one welcome, too
	entryMessages   = 50             // what a newcomer sees
	idsMax          = 64             // ids per session that are recognised when sent again
	linger          = time.Minute    // how long a session, and its room, waits for its owner
	sayPerSecond    = 5
	sayBurst        = 10
	typingGap       = 2 * time.Second
)

// closeReplaced is the close code of a connection whose session was resumed by another one.
const closeReplaced protocol.CloseCode = 4001

// peer is the part of *engine.Conn that a room uses.
type peer interface {
	Send(engine.Message) error
	Close(protocol.CloseCode, string) error
}

// session is one member of one room; it outlives its connection.
type session struct {
	member
	key    string // folded nick
	token  string
	peer   peer      // nil: away
	away   time.Time // since when
	ids    []ack     // newest last
	rate   bucket
	typing time.Time // last hint that was passed on
}

// room is safe for concurrent use. Its lock is held while sending, so that every member sees
// the same order; that is fine because sending never blocks.
type room struct {
	mu       sync.Mutex
	epoch    string
	next     uint64 // offset of the newest message
	messages []json.RawMessage
	bytes    int
	sessions map[string]*session // by token
}

func newRoom() *room {
	return &room{epoch: rand.Text()[:8], sessions: map[string]*session{}}
}

// enter makes p the connection of a new session, or of the one whose token q carries, and
// welcomes it with what it has missed.
func (r *room) enter(q *request, p peer, head [2]int, now time.Time) (*session, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	key := fold(q.Nick)
	s := r.sessions[q.Token]
	if s != nil && s.key != key {
		s = nil // comes back under another name: somebody new
	}
	present := 0
	for _, other := range r.sessions {
		if other == s || other.peer == nil {
			continue
		}
		if other.key == key {
			return nil, errTaken
		}
		present++
	}
	if present >= membersMax {
		return nil, errRoomFull
	}
	note := &presence{T: "join", Back: s != nil}
	if s == nil {
		r.evict()
		s = &session{member: member{U: rand.Text()[:8]}, key: key, token: rand.Text()}
		r.sessions[s.token] = s
	} else if s.peer != nil {
		_ = s.peer.Close(closeReplaced, "opened elsewhere")
		note = nil // it never left
	}
	s.Nick, s.peer = q.Nick, p
	w := welcome{T: "welcome", You: s.member, Token: s.token, Now: now.UnixMicro(), Head: head}
	w.history = r.since(q.Epoch, q.After)
	for _, other := range r.sessions {
		if other.peer != nil {
			w.Members = append(w.Members, other.member)
		}
	}
	deliver(p, encode(w))
	if note != nil {
		note.member = s.member
		r.tell(encode(note), s)
	}
	return s, nil
}

// evict makes room for one more session at the expense of the one that is away longest.
func (r *room) evict() {
	if len(r.sessions) < sessionsMax {
		return
	}
	var oldest *session
	for _, s := range r.sessions {
		if s.peer == nil && (oldest == nil || s.away.Before(oldest.away)) {
			oldest = s
		}
	}
	delete(r.sessions, oldest.token) // exists: at most membersMax are present
}

// leave ends the presence of s, unless another connection has taken it over from p.
func (r *room) leave(s *session, p peer, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.peer != p {
		return
	}
	s.peer, s.away = nil, now
	r.tell(encode(presence{T: "leave", member: s.member}), s)
}

// say checks and stores q.Text and tells it to all members. The acknowledgement is returned, and sent to
// p unless p is nil. A known id is acknowledged again and told to nobody.
func (r *room) say(s *session, q *request, p peer, now time.Time) (ack, error) {
	if err := q.checkSay(); err != nil {
		return ack{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.peer == nil {
		return ack{}, errAbsent
	}
	a := ack{T: "ack", ID: q.ID, At: now.UnixMicro()}
	known := slices.IndexFunc(s.ids, func(old ack) bool { return old.ID == q.ID })
	switch {
	case known >= 0:
		a.Offset = s.ids[known].Offset
	case !s.rate.take(now, sayPerSecond, sayBurst):
		return ack{}, errSlowDown
	default:
		r.next++
		a.Offset = r.next
		s.typing = time.Time{} // the next hint is about another message
		s.ids = append(s.ids[max(0, len(s.ids)-idsMax+1):], a)
	}
	if p != nil {
		deliver(p, encode(a))
	}
	if known < 0 {
		m := encode(message{T: "msg", Offset: a.Offset, At: a.At, member: s.member, ID: q.ID, Text: q.Text})
		r.store(m)
		r.tell(m, nil)
	}
	return a, nil
}

func (r *room) store(m json.RawMessage) {
	r.messages = append(r.messages, m)
	r.bytes += len(m)
	for len(r.messages) > historyMax || r.bytes > historyBytesMax {
		r.bytes -= len(r.messages[0])
		r.messages[0] = nil
		r.messages = r.messages[1:]
	}
}

// hint passes on that s is typing, unless it did so a moment ago. Hints are not stored.
func (r *room) hint(s *session, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if s.peer == nil || now.Sub(s.typing) < typingGap {
		return
	}
	s.typing = now
	r.tell(encode(presence{T: "typing", member: s.member}), s)
}

// poll is since for a client without a connection.
func (r *room) poll(epoch string, after uint64) history {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.since(epoch, after)
}

// session returns the session of a token, nil if there is none.
func (r *room) session(token string) *session {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sessions[token]
}

// since returns the messages after an offset of an epoch, or the newest ones if epoch is empty
// or what lies between is gone. The caller holds the lock.
func (r *room) since(epoch string, after uint64) history {
	h := history{Epoch: r.epoch, Next: r.next}
	first := r.next - uint64(len(r.messages)) // offset before the oldest kept message
	if epoch != r.epoch || after < first || after > r.next {
		h.Lost = epoch != ""
		after = max(first, r.next-min(r.next, entryMessages))
	}
	h.Messages = append([]json.RawMessage{}, r.messages[after-first:]...)
	return h
}

// tell sends m to everybody present but except.
func (r *room) tell(m []byte, except *session) {
	for _, s := range r.sessions {
		if s != except && s.peer != nil {
			deliver(s.peer, m)
		}
	}
}

// deliver does not look at the error: a connection that does not keep up is closed by the engine
// with 1013 when its queue is full, comes back and fetches by offset what it missed.
func deliver(p peer, m []byte) {
	_ = p.Send(engine.Message{Type: engine.Text, Data: m})
}

// forget drops the sessions that are away for linger and returns when the last member left, which
// is now while somebody is present.
func (r *room) forget(now time.Time) (left time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, s := range r.sessions {
		since := s.away
		if s.peer != nil {
			since = now
		} else if now.Sub(since) >= linger {
			delete(r.sessions, token)
		}
		if since.After(left) {
			left = since
		}
	}
	return left
}

// bucket is a token bucket; the zero value is full.
type bucket struct {
	used float64
	at   time.Time
}

func (b *bucket) take(now time.Time, perSecond, burst float64) bool {
	b.used = max(0, b.used-now.Sub(b.at).Seconds()*perSecond)
	b.at = now
	if b.used+1 > burst {
		return false
	}
	b.used++
	return true
}
