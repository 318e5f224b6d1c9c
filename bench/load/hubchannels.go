//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	centrifugal "github.com/centrifugal/protocol"
)

// several is the load of the mode hub-channels: most clients have several channels.
type several struct {
	*hub
	publishers int   // clients, the first ones, that have none, and publish. One alone would publish faster than a client may
	each       int   // channels of each other client
	has        []int // that a client has now
	left       int   // channels without a subscriber
}

func channelName(n int) string { return fmt.Sprintf("c%06d", n) }

// hubChannels is the mode hub-channels. One client in eleven, all at the last node, publishes at the end; the others, all at the
// first node, have the channels. RSSBefore is with all connections open, RSSOpen with all channels, RSSAfter after a publication to each.
// The window is the subscribing.
func (l *load) hubChannels() error {
	h, err := newHub(l)
	if err != nil {
		return err
	}
	publishers := (len(h.conns) + 10) / 11
	readers := len(h.conns) - publishers
	if readers < 1 || l.o.topics%readers != 0 {
		return fmt.Errorf("-mode hub-channels: %d channels cannot be spread evenly over %d clients", l.o.topics, readers)
	}
	s := &several{hub: h, publishers: publishers, each: l.o.topics / readers, has: make([]int, len(h.conns)), left: l.o.topics}
	for i := range h.conns {
		if h.conns[i].node = 0; i < publishers {
			h.conns[i].node = uint8(len(l.to) - 1)
		}
	}
	h.alone, h.answered = true, s.subscribed
	if err = h.connect(); err != nil {
		return err
	}
	if err = l.rest(l.o.rest); err != nil {
		return err
	}
	if h.r.RSSBefore, err = h.rss(); err != nil {
		return err
	}
	from, err := h.read(0)
	if err != nil {
		return err
	}
	for i := publishers; i < len(h.conns); i++ {
		if err = s.subscribe(i); err != nil {
			return err
		}
	}
	if err = h.until(func() int { return s.left }, "channels have no subscriber"); err != nil {
		return err
	}
	to, err := h.read(uint64(l.o.topics))
	if err != nil {
		return err
	}
	h.window(from, to)
	fmt.Fprintln(os.Stderr, "open")
	if err = l.rest(l.o.rest); err != nil {
		return err
	}
	if h.r.RSSOpen, err = h.rss(); err != nil {
		return err
	}
	if err = s.onceToEach(); err != nil {
		return err
	}
	if err = l.rest(l.o.rest); err != nil {
		return err
	}
	h.r.RSSAfter, err = h.rss()
	return err
}

// subscribe has client i subscribe to the next one of its channels.
func (s *several) subscribe(i int) error {
	return s.command(i, &centrifugal.Command{Subscribe: &centrifugal.SubscribeRequest{
		Channel: channelName((i-s.publishers)*s.each + s.has[i]), Recoverable: s.o.history, Positioned: s.o.history,
	}})
}

func (s *several) subscribed(i int, r *centrifugal.Reply) error {
	if r.Subscribe == nil || r.Subscribe.Recoverable != s.o.history {
		return errors.New("want an answer to subscribe")
	}
	s.left--
	s.has[i]++
	if s.has[i] == s.each {
		return nil
	}
	return s.subscribe(i)
}

// onceToEach has the publishers publish to each channel in turn, and returns when each subscriber has its publication.
func (s *several) onceToEach() error {
	began := s.now()
	const atOnce = 64
	owed, next := s.o.topics, 0 // publications that have not arrived, and the next one
	got := make([]bool, s.o.topics)
	publish := func() error {
		if next == s.o.topics {
			return nil
		}
		by := next % s.publishers
		next++
		c := &s.clients[by]
		c.owed = append(c.owed, c.last+1)
		s.answers++
		return s.command(by, &centrifugal.Command{Publish: &centrifugal.PublishRequest{Channel: channelName(next - 1), Data: s.payloads[(next-1)%variants]}})
	}
	s.told = func(i int, p *centrifugal.Push) error {
		n, err := strconv.Atoi(strings.TrimPrefix(p.Channel, "c"))
		if err != nil || i != n/s.each+s.publishers || p.Channel != channelName(n) {
			return errors.New("a publication of a channel that it does not follow")
		}
		if got[n] || n >= next || !bytes.Equal(p.Pub.Data, s.payloads[n%variants]) {
			return fmt.Errorf("want the publication of channel %d, once; it came before: %v", n, got[n])
		}
		got[n] = true
		owed--
		s.counted++
		s.compared++
		if err := s.latency.RecordValue(s.now() - began); err != nil {
			return err
		}
		return publish()
	}
	for range atOnce {
		if err := publish(); err != nil {
			return err
		}
	}
	return s.until(func() int { return owed + int(s.answers) }, "publications or answers to them have not come")
}

// until takes turns until nothing is left.
func (h *hub) until(left func() int, what string) error {
	for had, progress := left(), h.now(); had > 0; {
		if err := h.load.turn(); err != nil {
			return err
		}
		if n, now := left(), h.now(); n < had {
			had, progress = n, now
		} else if now-progress > int64(h.o.stall) {
			return fmt.Errorf("nothing came for %v: %d %s", h.o.stall, n, what)
		}
	}
	return nil
}
