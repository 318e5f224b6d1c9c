//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math"
	"time"
)

// group is the connections that receive what one of them publishes.
type group struct {
	publisher int
	members   uint64
	published uint64
	// Of the latest messages: how many members have received it, and when it was
	// sent. More than are ever on their way.
	received []uint64
	sentAt   []int64
}

// fanOut keeps inFlight published messages on their way, group after group. A
// message has arrived when all members of its group have it.
type fanOut struct {
	*traffic
	groups []group
	turn   int // whose group is next
	credit int // messages to be published at the end of this turn
	left   int // messages to be published in all
	flying uint64
	seen   uint64 // deliveries whose latency might be taken
	every  uint64 // that many share one whose latency is

	enqueue func(group int) error // has the next message of a group wait, for
	push    func(conn int) error  // which writes what waits on a connection
}

// sampleEvery is fanOut.every, but where the rate is given.
const sampleEvery = 16

// newFanOut has the connections take turns in so many groups. The first of a group
// publishes.
func newFanOut(l *load, groups int) *fanOut {
	f := &fanOut{traffic: &traffic{load: l}, groups: make([]group, groups), left: math.MaxInt, every: sampleEvery}
	for i := range f.groups {
		f.groups[i] = group{
			publisher: i, received: make([]uint64, 2*l.o.inFlight), sentAt: make([]int64, 2*l.o.inFlight),
		}
	}
	for i := range l.conns {
		l.conns[i].group = int32(i % groups)
		f.groups[i%groups].members++
	}
	l.onEnd = f.delivered
	l.onTurn = f.publish
	return f
}

// fan is the modes broadcast, one group, and topics.
func (l *load) fan() error {
	groups := 1
	if l.o.mode == "topics" {
		groups = min(l.o.topics, len(l.conns))
	}
	f := newFanOut(l, groups)
	f.enqueue = func(group int) error {
		l.conns[f.groups[group].publisher].enqueue(1)
		return nil
	}
	f.push = l.flush
	for i := range f.groups {
		l.conns[i].script = cycle(f.frames(i, l.payloads), l.o.inFlight)
	}
	return f.run(func() error {
		if l.o.mode == "topics" {
			if err := f.subscribe(); err != nil {
				return err
			}
		}
		if err := f.settle(); err != nil {
			return err
		}
		f.credit = l.o.inFlight
		return f.publish()
	}, func() uint64 { return f.flying })
}

// frames are what the publisher of a group sends: payloads, in mode topics with the
// command before them.
func (f *fanOut) frames(group int, payloads [][]byte) (frames [][]byte) {
	for i, payload := range payloads {
		if f.o.mode == "topics" {
			payload = append(fmt.Appendf(nil, "p t%d ", group), payload...)
		}
		frames = append(frames, masked(payload, 0, i))
	}
	return frames
}

// publish spends the credit.
func (f *fanOut) publish() error {
	if f.stopped {
		f.credit = 0
	}
	n := min(f.credit, f.left)
	if n == 0 {
		return nil
	}
	f.credit -= n
	f.left -= n
	now := f.now()
	first := f.turn
	for range n {
		g := &f.groups[f.turn]
		slot := g.published % uint64(len(g.received))
		g.received[slot], g.sentAt[slot] = 0, now
		if err := f.enqueue(f.turn); err != nil {
			return err
		}
		g.published++
		f.flying++
		f.turn = (f.turn + 1) % len(f.groups)
	}
	for i := range min(n, len(f.groups)) {
		if err := f.push(f.groups[(first+i)%len(f.groups)].publisher); err != nil {
			return err
		}
	}
	return nil
}

// delivered takes note of n messages that connection i received.
func (f *fanOut) delivered(i, n int) error {
	c := &f.conns[i]
	g := &f.groups[c.group]
	if c.got > g.published {
		return fmt.Errorf("connection %d: %d messages, but %d were published", i, c.got, g.published)
	}
	for number := c.got - uint64(n); number < c.got; number++ {
		slot := number % uint64(len(g.received))
		if f.elsewhere(c, g) {
			if f.seen++; f.seen%f.every == 0 {
				if err := f.latency.RecordValue(f.now() - g.sentAt[slot]); err != nil {
					return err
				}
			}
		}
		if g.received[slot]++; g.received[slot] == g.members {
			f.flying--
			f.credit++
		}
	}
	f.messages += uint64(n)
	return nil
}

// elsewhere reports whether a member is where the time of a delivery is taken: if there are several nodes, at another one than the publisher.
func (f *fanOut) elsewhere(c *conn, g *group) bool {
	return len(f.to) == 1 || c.node != f.conns[g.publisher].node
}

// subscribe subscribes every connection to the topic of its group. Servers do not
// answer: settle makes sure of it.
func (f *fanOut) subscribe() error {
	commands := make([][]byte, len(f.groups))
	for i := range commands {
		commands[i] = masked(fmt.Appendf(nil, "s t%d", i), 0, i)
	}
	for i := range f.conns {
		c := &f.conns[i]
		b := commands[c.group]
		if n, errno := write(c.fd, b); errno != 0 || n < len(b) {
			return fmt.Errorf("connection %d: subscribing: %d of %d bytes: %w", i, n, len(b), errno)
		}
		f.bytesOut += uint64(len(b))
	}
	return nil
}

// settle waits until every connection is one of those that its group reaches: a
// server may answer a handshake before that. A probe is published until each has
// had one.
func (f *fanOut) settle() error {
	onTurn := f.onTurn
	f.onTurn = func() error { return nil }
	defer func() { f.onTurn, f.onRead = onTurn, nil }()
	for round := range 20 {
		missing, err := f.probe(round)
		if err != nil {
			return fmt.Errorf("probing: %w", err)
		}
		if missing == 0 {
			for i := range f.conns {
				f.conns[i].got = 0
			}
			return nil
		}
	}
	return fmt.Errorf("%d connections of %d are not reached", f.missing(), len(f.conns))
}

// probe publishes one message to each group and waits until everybody has it, or
// nothing came for a second. It returns how many have not. That of an earlier round
// may still come.
func (f *fanOut) probe(round int) (missing int, err error) {
	payload := func(round int) []byte { return fmt.Appendf(nil, "probe %02d", round) }
	last := f.now()
	f.onRead = func(i int, b []byte) error {
		last = f.now()
		c := &f.conns[i]
		for len(b) > 0 {
			if n := f.control(i, b); n > 0 {
				b = b[n:]
				continue
			}
			old := 0
			for old < round && !bytes.HasPrefix(b, plain(payload(old))) {
				old++
			}
			want := plain(payload(old))
			if !bytes.HasPrefix(b, want) || c.got > 0 {
				return fmt.Errorf("connection %d: it is %.60q, want one probe of each round up to %d", i, b, round)
			}
			if old == round {
				c.got = 1
			}
			b = b[len(want):]
		}
		return nil
	}
	for i := range f.conns {
		f.conns[i].got = 0
	}
	for i := range f.groups {
		b := f.frames(i, [][]byte{payload(round)})[0]
		if n, errno := write(f.conns[f.groups[i].publisher].fd, b); errno != 0 || n < len(b) {
			return 0, fmt.Errorf("group %d: %d of %d bytes: %w", i, n, len(b), errno)
		}
	}
	for missing = f.missing(); missing > 0 && f.now()-last < int64(time.Second); missing = f.missing() {
		if err := f.load.turn(); err != nil {
			return 0, err
		}
	}
	return missing, nil
}

// missing is how many connections have not received the probe.
func (f *fanOut) missing() (n int) {
	for i := range f.conns {
		if f.conns[i].got == 0 {
			n++
		}
	}
	return n
}
