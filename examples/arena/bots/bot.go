package main

import (
	"math"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/protocol"
)

const (
	inputEvery = time.Second / 20
	thinkEvery = 4 // inputs

	// A slow player reads for a moment, and then not for far longer: options.pause.
	readFor = 50 * time.Millisecond
)

// bot is one player. It belongs to the loop of its connection.
type bot struct {
	crowd *crowd
	name  string
	slow  bool

	player  uint32
	world   float32
	view    wire.View
	dropped uint32 // as the last snapshot told
	counted bool   // a snapshot of it is
	welcome bool
	dead    bool
	seq     uint32
	dx, dy  float32
}

// opened says hello and plays from then on.
func (b *bot) opened(c *engine.Conn) {
	_ = c.SendBinary(wire.AppendHello(nil, wire.Hello{Version: wire.Version, Name: []byte(b.name)}))
}

// heard takes a message of the server.
func (b *bot) heard(c *engine.Conn, m engine.Message) {
	t := b.crowd.tallies[c.Loop().Index()]
	if len(m.Data) == 0 {
		b.crowd.fail(c, wire.ErrTruncated)
		return
	}
	var err error
	switch m.Data[0] {
	case wire.KindWelcome:
		var w wire.Welcome
		if err = w.Parse(m.Data); err == nil {
			b.welcomed(c, &w)
		}
	case wire.KindSnapshot:
		if err = t.snap.Parse(m.Data); err == nil {
			err = b.seen(t, len(m.Data))
		}
	case wire.KindDied:
		b.dead = true
	}
	if err != nil {
		b.crowd.fail(c, err)
	}
}

func (b *bot) welcomed(c *engine.Conn, w *wire.Welcome) {
	b.player, b.world = w.Player, w.World
	if b.welcome { // the world was resized
		return
	}
	b.welcome = true
	b.crowd.playing.Add(1)
	c.Every(inputEvery, func(engine.Tick) { b.act(c) })
	if b.slow {
		_ = c.PauseReading()
		c.Every(b.crowd.pause, func(engine.Tick) {
			_ = c.ResumeReading()
			c.After(readFor, func() { _ = c.PauseReading() })
		})
	}
}

// seen applies a snapshot and counts it.
func (b *bot) seen(t *tally, size int) error {
	s, last := &t.snap, b.view.Tick
	err := b.view.Apply(s)
	if err != nil {
		return err
	}
	t.count(b, last, size)
	b.dropped, b.dead = s.Dropped, s.Flags&wire.Dead != 0
	return nil
}

// act sends an input.
func (b *bot) act(c *engine.Conn) {
	if b.slow && c.QueuedBytes() > 0 {
		return
	}
	if b.seq%thinkEvery == 0 {
		b.think()
	}
	if b.dead {
		b.dead = false
		_ = c.SendBinary(wire.AppendRespawn(nil))
	}
	b.seq++
	in := wire.Input{Seq: b.seq, DX: b.dx, DY: b.dy}
	if b.seq%97 == 0 {
		in.Flags = wire.Split
	}
	var room [16]byte
	_ = c.SendBinary(wire.AppendInput(room[:0], in)) // fails only if the connection ends: OnClose tells
}

// think decides where to go: away from a heavier cell that is near, else to
// the nearest food.
func (b *bot) think() {
	var own wire.Entity
	for _, e := range b.view.Entities {
		if e.Kind == wire.Cell && e.Owner == b.player && e.Radius >= own.Radius {
			own = e
		}
	}
	if own.Radius == 0 {
		return
	}
	unit := float64(b.world) / math.MaxUint16
	best := math.Inf(1)
	var dx, dy float64
	for _, e := range b.view.Entities {
		x, y := (float64(e.X)-float64(own.X))*unit, (float64(e.Y)-float64(own.Y))*unit
		d := math.Hypot(x, y) + 1
		switch {
		case e.Owner == b.player:
		case e.Kind == wire.Cell && float64(e.Radius) > 1.1*float64(own.Radius) && d < 350:
			if d-1000 < best {
				best, dx, dy = d-1000, -x/d, -y/d
			}
		case e.Kind != wire.Spike && e.Radius < own.Radius && d < best:
			best, dx, dy = d, x/d, y/d
		}
	}
	b.dx, b.dy = float32(dx), float32(dy)
}

// handler connects the engine with the bots.
func (c *crowd) handler() engine.Handler {
	return engine.Handler{
		OnOpen:    func(conn *engine.Conn) { conn.State().(*bot).opened(conn) },
		OnMessage: func(conn *engine.Conn, m engine.Message) { conn.State().(*bot).heard(conn, m) },
		OnClose: func(conn *engine.Conn, e *engine.CloseError) {
			if !c.leaving.Load() {
				c.report("a connection ended: %d %s %v", e.Code, e.Reason, e.Err)
			}
		},
	}
}

// fail ends a connection whose server makes no sense.
func (c *crowd) fail(conn *engine.Conn, err error) {
	c.report("%v", err)
	_ = conn.Close(protocol.CloseProtocolError, err.Error())
}
