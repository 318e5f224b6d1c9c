//go:build linux

package main

import (
	"errors"
	"fmt"
	"github.com/sockmill/sockmill/protocol"
)

// traffic is a run of messages over open connections.
type traffic struct {
	*load
	stopped  bool // no more messages are sent
	messages uint64
	progress int64 // when the last one came
}

// run opens the connections, has start send the first messages, measures, and
// demands that every reply comes, and nothing else.
func (t *traffic) run(start func() error, owed func() uint64) (err error) {
	l := t.load
	if l.r.RSSBefore, err = l.rss(); err != nil {
		return err
	}
	if err = l.connect(); err != nil {
		return err
	}
	if l.r.RSSOpen, err = l.rss(); err != nil {
		return err
	}
	if err = start(); err != nil {
		return err
	}
	if err = t.until(l.now() + int64(l.o.warmUp)); err != nil {
		return err
	}
	l.always = false
	l.latency.Reset()
	from, err := l.read(t.messages)
	if err != nil {
		return err
	}
	if err = t.until(from.at + int64(l.o.duration)); err != nil {
		return err
	}
	to, err := l.read(t.messages)
	if err != nil {
		return err
	}
	l.window(from, to)
	l.always = true
	t.stopped = true
	for owed() > 0 {
		if err = t.turn(owed); err != nil {
			return err
		}
	}
	if l.r.RSSAfter, err = l.rss(); err != nil {
		return err
	}
	return t.quiet()
}

// until takes turns until the time is end and some messages have come.
func (t *traffic) until(end int64) error {
	for least := t.messages + t.o.least; t.now() < end || t.messages < least; {
		if err := t.turn(nil); err != nil {
			return err
		}
	}
	return nil
}

func (t *traffic) turn(owed func() uint64) error {
	before := t.messages
	if err := t.load.turn(); err != nil {
		return err
	}
	switch now := t.now(); {
	case t.messages > before || t.progress == 0:
		t.progress = now
	case now-t.progress > int64(t.o.stall):
		if owed != nil {
			return fmt.Errorf("nothing came for %v, and %d replies are owed", t.o.stall, owed())
		}
		return fmt.Errorf("nothing came for %v", t.o.stall)
	}
	return nil
}

// quiet demands that nothing more comes once all has been answered.
func (t *traffic) quiet() error {
	had := t.messages
	for end := t.now() + int64(t.o.quiet); t.now() < end; {
		if err := t.load.turn(); err != nil {
			return err
		}
		if t.messages > had {
			return errors.New("replies that nobody asked for")
		}
		for i := range t.conns {
			if t.conns[i].off > 0 {
				return fmt.Errorf("connection %d: a piece of a reply that nobody asked for", i)
			}
		}
	}
	return nil
}

// echo sends inFlight messages on each connection, and one more for each reply,
// with what one read brought answered by one write.
func (l *load) echo() error {
	t := &traffic{load: l}
	s := cycle(l.sends(), l.o.inFlight)
	if l.o.mode == "takeover" {
		s = takeover(l.payloads, l.o.inFlight)
	}
	for i := range l.conns {
		l.conns[i].script = s
	}
	l.onEnd = func(i, n int) error {
		c := &l.conns[i]
		if c.got > c.sent {
			return fmt.Errorf("connection %d: %d replies to %d messages", i, c.got, c.sent)
		}
		t.messages += uint64(n)
		if c.markAt != 0 && c.got > c.mark {
			if err := l.latency.RecordValue(l.now() - c.markAt); err != nil {
				return err
			}
			c.markAt = 0
		}
		if t.stopped {
			return nil
		}
		return l.send(i, n)
	}
	sent := func() (n uint64) {
		for i := range l.conns {
			n += l.conns[i].sent - l.conns[i].got
		}
		return n
	}
	return t.run(func() error {
		for i := range l.conns {
			if err := l.send(i, l.o.inFlight); err != nil {
				return err
			}
		}
		return nil
	}, sent)
}

// sends are the frames that are sent, one for each variant.
func (l *load) sends() (frames [][]byte) {
	for i, payload := range l.payloads {
		if l.inflate {
			frames = append(frames, masked(deflated(payload, nil), protocol.Rsv1, i))
		} else {
			frames = append(frames, masked(payload, 0, i))
		}
	}
	return frames
}

// send sends the next n messages of connection i, and takes the time of one if
// none is being taken.
func (l *load) send(i, n int) error {
	c := &l.conns[i]
	if c.markAt == 0 {
		c.mark, c.markAt = c.sent, l.now()
	}
	c.enqueue(n)
	return l.flush(i)
}
