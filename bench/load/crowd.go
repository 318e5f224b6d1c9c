//go:build linux

package main

import (
	"fmt"
	"os"
	"time"
)

// handshakes opens connections, so many at a time, and resets each as soon as it
// is open.
func (l *load) handshakes() error {
	var done uint64
	stopped := false
	l.onOpen = func(i int) error {
		c := &l.conns[i]
		done++
		if err := l.latency.RecordValue(l.now() - c.markAt); err != nil {
			return err
		}
		c.reset()
		if !stopped {
			l.again = append(l.again, i)
		}
		return nil
	}
	l.onTurn = func() error {
		again := l.again
		l.again = nil
		for _, i := range again {
			if err := l.begin(i); err != nil {
				return err
			}
			l.conns[i].markAt = l.now()
		}
		return nil
	}
	for i := range l.conns {
		l.again = append(l.again, i)
	}
	t := &traffic{load: l}
	turns := func(end int64) error {
		for least := done + l.o.least; l.now() < end || done < least; {
			if err := t.turn(nil); err != nil {
				return err
			}
			t.messages = done
		}
		return nil
	}
	if err := l.onTurn(); err != nil {
		return err
	}
	if err := turns(l.now() + int64(l.o.warmUp)); err != nil {
		return err
	}
	l.latency.Reset()
	from, err := l.read(done)
	if err != nil {
		return err
	}
	if err = turns(from.at + int64(l.o.duration)); err != nil {
		return err
	}
	to, err := l.read(done)
	if err != nil {
		return err
	}
	l.window(from, to)
	l.counted = done
	stopped = true
	return nil
}

// oneEach sends one message on each connection, some hundred on their way, and
// receives it.
func (l *load) oneEach() error {
	const atOnce = 256
	s := cycle(l.sends(), 1)
	next, got := 0, 0
	l.onEnd = func(i, n int) error {
		if got += n; l.conns[i].got > l.conns[i].sent {
			return fmt.Errorf("connection %d: %d replies to %d messages", i, l.conns[i].got, l.conns[i].sent)
		}
		return nil
	}
	progress, had := l.now(), 0
	for got < len(l.conns) {
		for ; next < len(l.conns) && next-got < atOnce; next++ {
			c := &l.conns[next]
			c.script, c.got = s, 0
			if c.sent = 0; c.next != 0 {
				c.outAt, c.outEnd, c.next = 0, 0, 0
			}
			c.enqueue(1)
			if err := l.flush(next); err != nil {
				return err
			}
		}
		if err := l.turn(); err != nil {
			return err
		}
		if now := l.now(); got > had {
			progress, had = now, got
		} else if now-progress > int64(l.o.stall) {
			return fmt.Errorf("nothing came for %v, and %d replies are owed", l.o.stall, next-got)
		}
	}
	return nil
}

// rest lets time pass, answering pings.
func (l *load) rest(d time.Duration) error {
	for end := l.now() + int64(d); l.now() < end; {
		if err := l.turn(); err != nil {
			return err
		}
	}
	return nil
}

// idle opens all connections and reads the server's memory when all has been
// quiet for a while; then again after one message each. It says on stderr when the
// connections are open.
func (l *load) idle() (err error) {
	if err = l.rest(min(l.o.rest, time.Second)); err != nil {
		return err
	}
	if l.r.RSSBefore, err = l.rss(); err != nil {
		return err
	}
	from, err := l.read(0)
	if err != nil {
		return err
	}
	if err = l.connect(); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "open")
	if err = l.rest(l.o.rest); err != nil {
		return err
	}
	if l.r.RSSOpen, err = l.rss(); err != nil {
		return err
	}
	if err = l.once(); err != nil {
		return err
	}
	if err = l.rest(l.o.rest); err != nil {
		return err
	}
	if l.r.RSSAfter, err = l.rss(); err != nil {
		return err
	}
	to, err := l.read(l.counted)
	l.window(from, to)
	return err
}

// burst resets all connections and opens all again at once, as clients do whose
// network came back. It ends when each has had a reply. A client that is refused
// tries again at once.
func (l *load) burst() (err error) {
	l.o.stall *= 3 // a connection request that was dropped comes again after 1, 3, 7, 15, 31 s
	if err = l.connect(); err != nil {
		return err
	}
	if err = l.once(); err != nil {
		return err
	}
	had := l.counted
	from, err := l.read(0)
	if err != nil {
		return err
	}
	l.resetAll()
	l.retry = true
	s := cycle(l.sends(), 1)
	served := 0
	l.onOpen = func(i int) error {
		l.conns[i].script = s
		l.conns[i].enqueue(1)
		return l.flush(i)
	}
	l.onEnd = func(i, n int) error {
		served += n
		return l.latency.RecordValue(l.now() - from.at)
	}
	if err = l.openAll(len(l.conns)); err != nil {
		return err
	}
	for end := l.now() + int64(l.o.stall); served < len(l.conns); {
		if err = l.turn(); err != nil {
			return err
		}
		if l.now() > end {
			return fmt.Errorf("%d of %d have had no reply %v after all were open", len(l.conns)-served, len(l.conns), l.o.stall)
		}
	}
	to, err := l.read(l.counted - had)
	l.window(from, to)
	return err
}
