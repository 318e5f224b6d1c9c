package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/engine/session"
	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
	"github.com/sockmill/sockmill/protocol"
)

const period = time.Second / world.Rate

// game is the world and who plays in it. All of it but metrics lives on one of
// the engine's loops, and needs no lock.
type game struct {
	log      *zap.Logger
	metrics  *metrics
	grace    time.Duration
	loop     *engine.Loop
	sessions *session.Store // of seats

	world *world.World
	size  float32 // of the world, as the players know it
	epoch string  // another for each size
	seats []*seat // who plays, in no order
	byID  map[uint32]*seat
	now   time.Time // when the running tick was due
	tick  uint32
	cost  time.Duration // of the tick before
	lens  lens
	board board
}

// seat is a player and its connection. It is the state of a session: it
// outlives the connection by the grace period.
type seat struct {
	player *world.Player
	client *client     // nil: lost
	over   atomic.Bool // the session is
	index  int         // in game.seats
	sight  sight
}

func newGame(o options, log *zap.Logger) *game {
	g := &game{log: log, metrics: newMetrics(), grace: o.grace, world: world.New(o.seed, o.npcs), byID: map[uint32]*seat{}}
	g.size, g.epoch = g.world.Size, fmt.Sprint(g.world.Size)
	g.board.draw(g.world)
	return g
}

// live gives the game a loop, and its players sessions, as many as sessionsMax
// at most.
func (g *game) live(e *engine.Engine, sessionsMax int) (err error) {
	g.loop = e.Loops()[0]
	g.sessions, err = session.New(e, session.Config{
		Grace: g.grace, Max: sessionsMax, OnExpire: func(state any) { state.(*seat).over.Store(true) }, // the next tick vacates it
	})
	return err
}

// start begins to tick when the engine runs.
func (g *game) start() { g.loop.Every(period, g.step) }

// do has the game's loop call f: at once if this is it. Otherwise f waits for
// its turn; if there is no room for that, c is closed, since what it said is
// lost.
func (g *game) do(c *engine.Conn, f func()) {
	if g.loop.On() {
		f()
		return
	}
	if err := g.loop.Post(f); errors.Is(err, engine.ErrBackpressure) {
		_ = c.Close(protocol.CloseTryAgainLater, "the game is overwhelmed")
	}
}

// enter gives a seat a new player.
func (g *game) enter(cl *client, s *seat, name string) {
	s.player, s.index = g.world.Join(name), len(g.seats)
	g.seats = append(g.seats, s)
	g.byID[s.player.ID] = s
	g.sit(cl, s, 0)
}

// reenter gives a seat to another connection.
func (g *game) reenter(cl *client, s *seat, name string) {
	if s.client != nil { // that it is lost has not come here yet
		g.part(s)
	}
	g.world.Steer(s.player, world.Intent{}) // another connection counts anew
	s.player.Name, s.player.Idle = name, false
	g.sit(cl, s, wire.Resumed)
}

func (g *game) sit(cl *client, s *seat, flags uint8) {
	cl.seat, s.client = s, cl
	s.sight.begin()
	g.welcome(s, flags)
}

func (g *game) welcome(s *seat, flags uint8) {
	token, err := g.sessions.Token(s.client.conn)
	if err != nil { // the connection ends
		return
	}
	var room [256]byte
	b := wire.AppendWelcome(room[:0], wire.Welcome{
		Version: wire.Version, Player: s.player.ID, World: g.size, Period: uint16(period / (100 * time.Microsecond)),
		Grace: uint16(g.grace / time.Second), Flags: flags, Token: []byte(token),
	})
	_ = s.client.conn.Send(engine.Message{Data: b, Plain: true}) // fails only if the connection ends: lost follows
}

// lost is told that a connection has ended.
func (g *game) lost(cl *client) {
	if s := cl.seat; s != nil && s.client == cl {
		g.part(s)
		s.player.Idle = true
	}
}

// part separates a seat from its connection.
func (g *game) part(s *seat) {
	g.metrics.drops.Add(s.sight.leave(s.client.conn))
	s.client = nil
}

// vacate ends the session of a player who did not come back.
func (g *game) vacate(s *seat) {
	g.world.Leave(s.player)
	delete(g.byID, s.player.ID)
	last := len(g.seats) - 1
	g.seats[s.index] = g.seats[last]
	g.seats[s.index].index = s.index
	g.seats[last] = nil
	g.seats = g.seats[:last]
}

func (g *game) steer(cl *client, in wire.Input) {
	// A connection that was taken over may still have something to say.
	if s := cl.seat; s != nil && s.client == cl {
		g.world.Steer(s.player, world.Intent{Seq: in.Seq, DX: in.DX, DY: in.DY, Split: in.Flags&wire.Split != 0, Eject: in.Flags&wire.Eject != 0})
	}
}

func (g *game) respawn(cl *client) {
	if s := cl.seat; s != nil && s.client == cl {
		g.world.Spawn(s.player)
	}
}

// step is a tick. While the server is late, it does not send: the world keeps
// its pace, and the players get the newest of it as soon as it has caught up.
func (g *game) step(t engine.Tick) {
	began := time.Now()
	g.tick, g.now = uint32(t.N), t.Due
	g.world.Step()
	g.resized()
	g.mourn()
	if began.Sub(t.Due) < period {
		g.show()
	} else {
		g.metrics.late.Add(1)
	}
	g.cost = time.Since(began)
	g.metrics.ticked(g, t.Missed)
}

// resized tells everybody when the world has another size: their snapshots are
// scaled by it.
func (g *game) resized() {
	if g.size == g.world.Size {
		return
	}
	g.size = g.world.Size
	g.epoch = fmt.Sprint(g.size)
	for _, s := range g.seats {
		if s.client != nil {
			s.sight.force()
			g.welcome(s, wire.Resized)
		}
	}
}

// mourn tells players that they have died.
func (g *game) mourn() {
	for _, d := range g.world.Deaths {
		s := g.byID[d.Victim.ID]
		if s == nil || s.client == nil {
			continue
		}
		var room [128]byte
		b := wire.AppendDied(room[:0], wire.Died{
			By: d.By.ID, ByName: d.By.Name, Mass: uint32(d.Victim.MaxMass / 100), Ticks: g.world.Tick - d.Victim.Born,
		})
		_ = s.client.conn.Send(engine.Message{Data: b, Plain: true})
	}
}

// show sends a snapshot to everybody, and ends the sessions that nobody came
// back to.
func (g *game) show() {
	g.lens.focus(g)
	if g.tick%world.Rate == 0 {
		g.board.draw(g.world)
	}
	for i := len(g.seats) - 1; i >= 0; i-- { // backwards: vacate moves the last one
		s := g.seats[i]
		switch {
		case s.client != nil:
			g.send(s)
		case s.over.Load():
			g.vacate(s)
		}
	}
}

// send sends one player what it sees. While an older snapshot waits for a slow
// reader, the new one is whole and takes its place.
func (g *game) send(s *seat) {
	c := s.client.conn
	if fresh := s.sight.drops(c); fresh > 0 {
		g.metrics.drops.Add(fresh)
		s.sight.force()
	}
	waiting := c.QueuedBytes() > 0
	b := g.lens.snapshot(g, s, waiting)
	err := c.Send(engine.Message{Type: engine.Binary, Data: b, Plain: true, Policy: engine.PolicyReplace, Key: g.epoch})
	switch {
	case errors.Is(err, engine.ErrClosed):
		g.lost(s.client) // OnClose says so too, unless its post found no room
		return
	case err != nil:
		s.sight.force()
	}
	g.metrics.sent(len(b))
	if (g.tick+s.player.ID)%world.Rate == 0 && !waiting {
		_ = c.Send(engine.Message{Data: g.board.of(s.player), Plain: true})
	}
}
