//go:build linux

package main

import (
	"bytes"
	"errors"
	"fmt"

	centrifugal "github.com/centrifugal/protocol"
)

// pushed takes a publication that nobody of its channel has received before, or that
// came in other bytes.
func (h *hub) pushed(i int, p *centrifugal.Push, b []byte) error {
	c := &h.conns[i]
	g, ch := &h.groups[c.group], &h.channels[c.group]
	switch {
	case h.clients[i].stage != follows:
		return errors.New("a publication before the answer to subscribe")
	case c.got == g.published:
		return fmt.Errorf("a publication, but %d were published", g.published)
	case p.Channel != ch.name || p.Id != 0 || p.Join != nil || p.Leave != nil || p.Message != nil:
		return fmt.Errorf("want channel %s", ch.name)
	}
	if err := h.check(int(c.group), c.got, p.Pub); err != nil {
		return err
	}
	slot := c.got % uint64(len(ch.pushes))
	ch.pushes[slot] = append(ch.pushes[slot][:0], b...)
	c.got++
	h.news++
	return nil
}

// offset is what number n of a channel has. With -sparse it is learned from the first that tells it: above those before it.
func (h *hub) offset(ch *channel, n, got uint64) uint64 {
	switch {
	case !h.o.history:
		return 0
	case !h.o.sparse:
		return ch.first + n
	}
	known := &ch.offsets[n%uint64(len(ch.offsets))]
	if *known == 0 {
		*known = max(got, ch.last+1)
		ch.last = *known
	}
	return *known
}

// check compares a publication with number n of its channel.
func (h *hub) check(group int, n uint64, p *centrifugal.Publication) error {
	ch := &h.channels[group]
	offset := h.offset(ch, n, p.Offset)
	publisher := h.groups[group].publisher
	switch {
	case !bytes.Equal(p.Data, h.payloads[n%variants]):
		return fmt.Errorf("the data is %.60q, want %.60q", p.Data, h.payloads[n%variants])
	case p.Offset != offset:
		return fmt.Errorf("offset %d, want %d", p.Offset, offset)
	case p.Info == nil || p.Info.Client != h.clients[publisher].id || p.Info.User != user(publisher):
		return fmt.Errorf("it is of %+v, want client %s of %s", p.Info, h.clients[publisher].id, user(publisher))
	case p.Epoch != "" && p.Epoch != ch.epoch:
		return fmt.Errorf("epoch %q, want %q", p.Epoch, ch.epoch)
	case len(p.Info.ConnInfo)+len(p.Info.ChanInfo)+len(p.Tags)+len(p.Channel)+len(p.Key) > 0 || p.Delta || p.Removed:
		return errors.New("more than was published")
	}
	return nil
}
