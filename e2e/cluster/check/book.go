// Package check knows what was published and what each client was told, and finds where the two do not fit what the hub promises:
// order, completeness, nothing twice, and no recovery that is claimed and is none.
//
// A Book counts what it is told in one order. What a publisher notes before it sends a message, and what a client notes after
// it has got an answer, are in the order in which they have happened. So a message that is noted as sent after a client has
// noted its subscription is one that this client must get.
package check

import (
	"fmt"
	"sync"
	"time"
)

// Message is what a publisher publishes: each number once.
type Message struct {
	By string `json:"by"` // the publisher
	N  uint64 `json:"n"`  // rises by one with each message of the publisher, in all channels together
}

func (m Message) String() string { return fmt.Sprintf("%s/%d", m.By, m.N) }

// Position is where a message is in a channel.
type Position struct {
	Offset uint64
	Epoch  string
}

// Publication is a message as a client gets it.
type Publication struct {
	Offset uint64
	Message
}

// Book is where publishers and clients note what they do. All methods are for any goroutine.
type Book struct {
	mu       sync.Mutex
	now      uint64 // counts what was noted
	channels map[string]*ledger
	wrong    []string // found when it was noted
	began    time.Time
}

// ledger is what is known of a channel.
type ledger struct {
	messages  map[Message]*sent
	positions map[Position]*sent
	settled   map[string]uint64 // the largest number of each publisher that Settle has dealt with
	followers map[string]*following
}

// sent is a message that was sent. Whether it is there is known only if it was acknowledged or somebody has got it.
type sent struct {
	Message
	begun uint64 // when it was sent
	acked uint64 // when that was answered with success; 0: never
	at    Position
}

// following is what a client was told of a channel.
type following struct {
	segments []*segment
}

// segment is a time in which a client was promised everything: it begins with a subscription at the newest position, and goes on
// with each one that is recovered.
type segment struct {
	begun uint64
	from  Position // at the beginning
	at    uint64   // the last offset
	got   []got
}

type got struct {
	offset uint64
	*sent
}

// New makes a Book.
func New() *Book { return &Book{channels: map[string]*ledger{}, began: time.Now()} }

// tick returns the number of what is being noted. mu is held.
func (b *Book) tick() uint64 {
	b.now++
	return b.now
}

func (b *Book) ledger(channel string) *ledger {
	l := b.channels[channel]
	if l == nil {
		l = &ledger{
			messages: map[Message]*sent{}, positions: map[Position]*sent{},
			settled: map[string]uint64{}, followers: map[string]*following{},
		}
		b.channels[channel] = l
	}
	return l
}

func (b *Book) blame(format string, args ...any) {
	b.wrong = append(b.wrong, fmt.Sprintf(format, args...))
}

// Sending is noted before a message is sent.
func (b *Book) Sending(channel string, m Message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ledger(channel).messages[m] = &sent{Message: m, begun: b.tick()}
}

// Acked is noted when the publisher was told that the message was published, with its position if that was told too.
func (b *Book) Acked(channel string, m Message, at *Position) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.ledger(channel)
	s := l.messages[m]
	s.acked = b.tick()
	if at != nil {
		b.place(channel, l, s, *at)
	}
}

// place notes where a message is: in one place only, and alone there.
func (b *Book) place(channel string, l *ledger, s *sent, at Position) {
	if other := l.positions[at]; other != nil && other != s {
		b.blame("%s: %v and %v have one position, %v", channel, other.Message, s.Message, at)
	}
	if s.at != (Position{}) && s.at != at {
		b.blame("%s: %v is there twice: at %v and at %v", channel, s.Message, s.at, at)
	}
	l.positions[at], s.at = s, at
}

// Subscribed is what a client is told about a subscription.
type Subscribed struct {
	Since        *Position // what it has asked to be recovered from
	Recovered    bool
	At           Position
	Publications []Publication
}

// Subscribed is noted when a client was told so. It reports whether the client was told that it has missed something.
func (b *Book) Subscribed(client, channel string, s Subscribed) (missed bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.ledger(channel)
	f := l.followers[client]
	if f == nil {
		f = &following{}
		l.followers[client] = f
	}
	last := f.last()
	if !s.Recovered {
		if len(s.Publications) > 0 {
			b.blame("%s: %s got %d publications with recovered: false", channel, client, len(s.Publications))
		}
		f.segments = append(f.segments, &segment{begun: b.tick(), from: s.At, at: s.At.Offset})
		return s.Since != nil
	}
	if s.Since == nil || last == nil {
		b.blame("%s: %s was told recovered: true, and has not asked", channel, client)
		return false
	}
	if s.At.Epoch != last.from.Epoch {
		b.blame("%s: %s was told recovered: true from %v, in another epoch: %v", channel, client, *s.Since, s.At)
	}
	if s.At.Offset < last.at { // with publications, it is the position from which they go on
		b.blame("%s: %s was at %d, and is told that the newest is %v", channel, client, last.at, s.At)
	}
	for _, p := range s.Publications {
		b.got(client, channel, l, last, p)
	}
	last.at = max(last.at, s.At.Offset)
	return false
}

func (f *following) last() *segment {
	if f == nil || len(f.segments) == 0 {
		return nil
	}
	return f.segments[len(f.segments)-1]
}

// Got is noted when a client gets a publication.
func (b *Book) Got(client, channel string, p Publication) {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.ledger(channel)
	last := l.followers[client].last()
	if last == nil {
		b.blame("%s: %s got %v and is not subscribed", channel, client, p)
		return
	}
	b.got(client, channel, l, last, p)
}

func (b *Book) got(client, channel string, l *ledger, to *segment, p Publication) {
	s := l.messages[p.Message]
	switch {
	case s == nil && p.N <= l.settled[p.By]:
		b.blame("%s: %s got %v again, at %d, long after it was published; it was at %v, which began at %v", channel, client, p.Message, p.Offset, to.at, to.from)
		return
	case s == nil:
		b.blame("%s: %s got %v, which nobody has published there", channel, client, p.Message)
		return
	case p.Offset <= to.at:
		b.blame("%s: %s got %v at %d, and was at %d", channel, client, p.Message, p.Offset, to.at)
	}
	b.tick()
	b.place(channel, l, s, Position{Offset: p.Offset, Epoch: to.from.Epoch})
	to.at = max(to.at, p.Offset)
	to.got = append(to.got, got{p.Offset, s})
}

// Has reports whether a client needs no more of a channel up to a message that was acknowledged: it has got it, or has
// subscribed afterwards.
func (b *Book) Has(client, channel string, m Message) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	l := b.ledger(channel)
	last, s := l.followers[client].last(), l.messages[m]
	if last == nil || s == nil {
		return false
	}
	if last.begun > s.acked {
		return true
	}
	for i := len(last.got) - 1; i >= 0; i-- {
		if last.got[i].sent == s {
			return true
		}
	}
	return false
}
