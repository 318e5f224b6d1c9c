package engine

import (
	"time"

	"github.com/sockmill/sockmill/engine/internal/wheel"
)

// rates are what a peer sent in the running second, where the program limits
// it, and the end of a pause.
type rates struct {
	second          uint32
	messages, bytes int
	next            wheel.Timer
}

// spendControl counts a ping or pong. Every connection sees some, so that the
// count stands in Conn.
func (c *Conn) spendControl() {
	second := uint32(c.w.now() / 1000)
	if c.in.second != second {
		c.in.second, c.in.controls = second, 0
	}
	if c.in.controls++; int(c.in.controls) >= c.ep.ControlFramesPerSecond {
		c.slowDown()
	}
}

// spend counts messages and bytes.
func (c *Conn) spend(messages, bytes int) {
	r := c.rates()
	if second := uint32(c.w.now() / 1000); r.second != second {
		r.second, r.messages, r.bytes = second, 0, 0
	}
	r.messages += messages
	r.bytes += bytes
	if r.messages >= c.ep.MessagesPerSecond || r.bytes >= c.ep.BytesPerSecond {
		c.slowDown()
	}
}

func (c *Conn) rates() *rates {
	in := c.needInput()
	if in.rates == nil {
		in.rates = new(rates)
	}
	return in.rates
}

// slowDown stops reading until the second is over: TCP makes the peer wait,
// nothing is lost and nobody is closed.
func (c *Conn) slowDown() {
	if c.in.paused&pausedRate == 0 {
		c.noteRateLimited()
	}
	c.pause(pausedRate)
	next := &c.rates().next
	next.Owner = (*owner)(c)
	c.w.arm(next, time.Duration(1000-c.w.now()%1000)*time.Millisecond)
}
