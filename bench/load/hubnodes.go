//go:build linux

package main

import (
	"errors"
	"fmt"
	"time"
)

// hubRate is the mode hub with so many publications a second, whatever has arrived. In the mode hub-apart, who publishes
// follows nothing.
func (l *load) hubRate() error {
	h, err := newHub(l)
	if err != nil {
		return err
	}
	h.every, l.patience = 1, 1
	members := uint64(len(h.conns) / len(h.groups))
	if members*uint64(len(h.groups)) != uint64(len(h.conns)) || l.o.rate < 1 {
		return errors.New("-mode hub-rate needs as many members in each channel, and a -rate")
	}
	if h.apart = l.o.mode == "hub-apart"; h.apart {
		if members--; members == 0 {
			return errors.New("-mode hub-apart needs somebody in each channel beside who publishes")
		}
		for i := range h.groups {
			h.groups[i].members = members
		}
	}
	var began int64 // 0: not yet
	var published int64
	l.onTurn = func() error {
		if began == 0 || h.stopped {
			return nil
		}
		h.credit = int((h.now()-began)*int64(l.o.rate)/1e9 - published)
		if err := h.late(h.credit); err != nil {
			return err
		}
		published += int64(h.credit)
		return h.publish()
	}
	err = h.run(func() error {
		began = h.now()
		return nil
	}, h.owing)
	h.r.Published = h.r.Messages / members
	return err
}

// late fails if one of the next n publications would need the place of one that has not arrived.
func (f *fanOut) late(n int) error {
	for i := range min(n, len(f.groups)) {
		g := &f.groups[(f.turn+i)%len(f.groups)]
		slots := uint64(len(g.received))
		for next := range uint64((n-i-1)/len(f.groups) + 1) {
			if slot := (g.published + next) % slots; g.published+next >= slots && g.received[slot] < g.members {
				return fmt.Errorf("%d publications of a channel are on their way, the first of them for %v", slots, time.Duration(f.now()-g.sentAt[slot]))
			}
		}
	}
	return nil
}
