package engine

import (
	"time"

	"github.com/sockmill/sockmill/engine/internal/wheel"
)

// rates are what a peer sent in the running second.
type rates struct {
	began                    int64 // in milliseconds
	control, messages, bytes int
	next                     wheel.Timer // ends a pause
}

// spend notes what arrived. A peer above one of the rates is not read until the
// second is over: TCP makes it wait, nothing is lost and nobody is closed.
func (c *Conn) spend(control, messages, bytes int) {
	r := c.seldom()
	if r.rates == nil {
		r.rates = new(rates)
	}
	s, cfg := r.rates, &c.e.cfg
	if now := c.w.now(); now-s.began >= 1000 {
		s.began, s.control, s.messages, s.bytes = now, 0, 0, 0
	}
	s.control += control
	s.messages += messages
	s.bytes += bytes
	if s.control >= cfg.ControlFramesPerSecond || s.messages >= cfg.MessagesPerSecond || s.bytes >= cfg.BytesPerSecond {
		if c.paused&pausedRate == 0 {
			c.stats.rateLimited.add(1)
		}
		c.pause(pausedRate)
		s.next.Owner = c
		c.w.arm(&s.next, time.Duration(s.began+1000-c.w.now())*time.Millisecond)
	}
}
