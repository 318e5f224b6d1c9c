//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"

	centrifugal "github.com/centrifugal/protocol"
)

// hubPublish is the mode hub: inFlight publications on their way, channel after channel.
func (l *load) hubPublish() error {
	h, err := newHub(l)
	if err != nil {
		return err
	}
	return h.run(func() error {
		h.credit = h.o.inFlight
		return h.publish()
	}, h.owing)
}

// hubIdle is the mode idle for clients with a subscription each. The message that each of
// them has is a publication to each channel.
func (l *load) hubIdle() error {
	h, err := newHub(l)
	if err != nil {
		return err
	}
	h.once = func() error { return h.rounds(1) }
	return h.idle()
}

// rounds publishes n messages to each channel and returns when all have arrived.
func (h *hub) rounds(n int) error {
	h.left = n * len(h.groups)
	h.credit = h.o.inFlight
	if err := h.publish(); err != nil {
		return err
	}
	for h.progress = h.now(); h.left > 0 || h.owing() > 0; {
		if err := h.fanOut.traffic.turn(h.owing); err != nil {
			return err
		}
	}
	return nil
}

// hubReturn cuts all clients but one of each channel, which publishes meanwhile. Then all
// come back at once, as clients do whose network came back, and recover what they missed. It ends
// when each has all of it. A client that is refused tries again at once.
func (l *load) hubReturn() error {
	if !l.o.history {
		return errors.New("-mode hub-return needs -history")
	}
	stay := min(l.o.topics, len(l.conns))
	l.conns = append(make([]conn, stay), l.conns...)
	h, err := newHub(l)
	if err != nil {
		return err
	}
	if h.r.RSSBefore, err = h.rss(); err != nil {
		return err
	}
	if err = h.connect(); err != nil {
		return err
	}
	if h.r.RSSOpen, err = h.rss(); err != nil {
		return err
	}
	if err = h.rounds(1); err != nil {
		return err
	}
	if err = h.cut(stay); err != nil {
		return err
	}
	h.latency.Reset()
	from, err := h.read(0)
	if err != nil {
		return err
	}
	var back uint64
	h.returned = func(int) error {
		back++
		return h.latency.RecordValue(h.now() - from.at)
	}
	h.retry = true
	h.o.stall *= 3 // see burst
	if err = h.join(stay, len(h.conns)); err != nil {
		return err
	}
	to, err := h.read(back)
	if err != nil {
		return err
	}
	h.window(from, to)
	if h.r.RSSAfter, err = h.rss(); err != nil {
		return err
	}
	returns := h.latency
	h.latency = newLatency()
	if err = h.rounds(1); err == nil { // each is where it was
		err = h.quiet()
	}
	h.latency = returns
	return err
}

// cut resets the clients that do not stay, and has those who do publish what they
// miss.
func (h *hub) cut(stay int) error {
	h.resetFrom(stay)
	members := make([]uint64, len(h.groups))
	for i := range h.groups {
		members[i], h.groups[i].members = h.groups[i].members, 1
	}
	err := h.rounds(h.o.missed)
	for i := range h.groups {
		h.groups[i].members = members[i]
	}
	for i := stay; i < len(h.conns); i++ {
		c := &h.clients[i]
		c.stage, c.last, c.away, c.got = connects, 0, true, h.conns[i].got
	}
	return err
}

// recovered takes the answer to a client that came back.
func (h *hub) recovered(i int, r *centrifugal.SubscribeResult, b []byte) error {
	c := &h.conns[i]
	g, ch := &h.groups[c.group], &h.channels[c.group]
	missed := g.published - c.got
	if len(ch.recovered) == 0 || !bytes.Equal(ch.recovered, b) {
		since, top := ch.first+c.got-1, ch.first+g.published-1 // a server says either, and clients go on at the last publication
		if !r.Recovered || !r.Recoverable || r.Epoch != ch.epoch || r.Offset != since && r.Offset != top {
			return fmt.Errorf("it has not recovered from offset %d to %d of epoch %q", since, top, ch.epoch)
		}
		if uint64(len(r.Publications)) != missed {
			return fmt.Errorf("it has recovered %d publications, want %d", len(r.Publications), missed)
		}
		for n, p := range r.Publications {
			if err := h.check(int(c.group), c.got+uint64(n), p); err != nil {
				return fmt.Errorf("recovered publication %d: %w", n, err)
			}
		}
		ch.recovered = bytes.Clone(b)
	}
	c.got = g.published
	h.clients[i].away = false
	h.counted += missed
	h.compared += missed
	return h.returned(i)
}
