package main

import (
	"errors"
	"net/http"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/engine/session"
	"github.com/sockmill/sockmill/examples/arena/wire"
	"github.com/sockmill/sockmill/examples/arena/world"
	"github.com/sockmill/sockmill/protocol"
)

const (
	helloTimeout = 10 * time.Second
	nameRunesMax = 16

	// Of a player's inputs at most so many a second count, after a burst that a
	// stumbling network makes of them; what is above is ignored, and counted.
	inputsPerSecond = 60
	inputsBurst     = 60

	// messagesMax in a second are no stumbling network.
	messagesMax = 400
)

// client is a connection. Its own callbacks touch the first part, the game's
// loop the second.
type client struct {
	greeted  bool
	second   int64 // of its messages
	messages int
	inputs   bucket

	conn *engine.Conn
	seat *seat // nil until welcomed
}

// handler connects the callbacks of the engine, which run on the loop of each
// connection, with the game, which runs on one of them.
func handler(g *game) engine.Handler {
	return engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			if u.Request.Path != "/play" {
				return engine.Refuse(http.StatusNotFound, "the arena is at /play")
			}
			if !u.Request.Fields.HasToken("Sec-WebSocket-Protocol", wire.Subprotocol) {
				return engine.Refuse(http.StatusBadRequest, "offer the subprotocol "+wire.Subprotocol)
			}
			u.Subprotocol = wire.Subprotocol
			u.State = &client{}
			return nil
		},
		OnOpen: func(c *engine.Conn) {
			cl := c.State().(*client)
			cl.conn = c
			c.After(helloTimeout, func() {
				if !cl.greeted {
					_ = c.Close(protocol.ClosePolicyViolation, "no hello")
				}
			})
		},
		OnMessage: func(c *engine.Conn, m engine.Message) {
			if m.Type != engine.Binary {
				_ = c.Close(protocol.CloseUnsupportedData, "binary messages only")
				return
			}
			c.State().(*client).heard(g, m.Data, time.Now())
		},
		OnClose: func(c *engine.Conn, e *engine.CloseError) {
			cl := c.State().(*client)
			g.do(c, func() { g.lost(cl) })
			g.log.Debug("closed", zap.Uint64("conn", c.ID()), zap.Uint16("code", uint16(e.Code)), zap.String("reason", e.Reason), zap.Error(e.Err))
		},
	}
}

// heard acts on a message of the client.
func (cl *client) heard(g *game, b []byte, now time.Time) {
	c := cl.conn
	if second := now.Unix(); cl.second != second {
		cl.second, cl.messages = second, 0
	}
	if cl.messages++; cl.messages > messagesMax {
		g.metrics.floods.Add(1)
		_ = c.Close(protocol.ClosePolicyViolation, "too many messages")
		return
	}
	var m wire.Client
	if err := m.Parse(b); err != nil {
		_ = c.Close(protocol.CloseProtocolError, err.Error())
		return
	}
	switch {
	case !cl.greeted && m.Kind == wire.KindHello:
		cl.hello(g, m.Hello)
	case !cl.greeted:
		_ = c.Close(protocol.CloseProtocolError, "hello first")
	case m.Kind == wire.KindHello:
		_ = c.Close(protocol.CloseProtocolError, "hello twice")
	case m.Kind == wire.KindInput:
		cl.input(g, m.Input, now)
	case m.Kind == wire.KindPing:
		cl.pong(m.Clock, now)
	case m.Kind == wire.KindRespawn:
		g.do(c, func() { g.respawn(cl) })
	}
}

var errName = errors.New("a name has 1 to 16 visible characters")

// fillers are letters and symbols without a shape.
const fillers = "\u115f\u1160\u2800\u3164\uffa0"

// checkName takes the space off a name and demands that it can be read. Format
// characters, which would let two names look the same, are not graphic.
func checkName(b []byte) (string, error) {
	name := strings.TrimSpace(string(b))
	n := utf8.RuneCountInString(name)
	if !utf8.ValidString(name) || n == 0 || n > nameRunesMax || strings.ContainsAny(name, fillers) ||
		strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) }) {
		return "", errName
	}
	return name, nil
}

func (cl *client) hello(g *game, h wire.Hello) {
	cl.greeted = true
	name, err := checkName(h.Name)
	switch {
	case h.Version != wire.Version:
		_ = cl.conn.Close(protocol.ClosePolicyViolation, "another version of the protocol: reload the page")
		return
	case err != nil:
		_ = cl.conn.Close(protocol.ClosePolicyViolation, err.Error())
		return
	}
	if err := cl.begin(g, name, string(h.Token)); err != nil {
		_ = cl.conn.Close(refusal(err))
	}
}

// begin takes a new seat, or the one whose token it is, as soon as whoever has
// that is closed.
func (cl *client) begin(g *game, name, token string) error {
	if token != "" {
		return g.sessions.Resume(cl.conn, token, func(state any) {
			g.do(cl.conn, func() { g.reenter(cl, state.(*seat), name) })
		})
	}
	s := &seat{}
	if _, err := g.sessions.Begin(cl.conn, s); err != nil {
		return err
	}
	g.do(cl.conn, func() { g.enter(cl, s, name) })
	return nil
}

// refusal is what a client is told that gets no seat.
func refusal(err error) (protocol.CloseCode, string) {
	switch {
	case errors.Is(err, session.ErrFull):
		return protocol.CloseTryAgainLater, "the arena is full"
	case errors.Is(err, session.ErrForged):
		return protocol.ClosePolicyViolation, "not a token of this server"
	case errors.Is(err, session.ErrExpired), errors.Is(err, session.ErrUnknown):
		return protocol.ClosePolicyViolation, "the session is over"
	}
	return protocol.CloseInternalError, "no session"
}

func (cl *client) input(g *game, in wire.Input, now time.Time) {
	g.metrics.inputs.Add(1)
	if !cl.inputs.take(now) {
		g.metrics.inputsIgnored.Add(1)
		return
	}
	switch {
	case !world.Finite(in.DX, in.DY):
		g.metrics.inputsBad.Add(1)
	case in.DX*in.DX+in.DY*in.DY > 1.001:
		g.metrics.inputsClamped.Add(1)
	}
	if g.loop == cl.conn.Loop() {
		g.steer(cl, in)
		return
	}
	g.do(cl.conn, func() { g.steer(cl, in) })
}

// pong is left out while the client does not read: it would ask again anyway.
func (cl *client) pong(clock float64, now time.Time) {
	if cl.conn.QueuedBytes() < 4<<10 {
		var b [17]byte
		_ = cl.conn.Send(engine.Message{Data: wire.AppendPong(b[:0], wire.Pong{Clock: clock, UnixMs: unixMs(now)}), Plain: true})
	}
}

// bucket allows inputsPerSecond, and inputsBurst at once.
type bucket struct {
	last   time.Time
	tokens float64
}

func (b *bucket) take(now time.Time) bool {
	b.tokens = min(inputsBurst, b.tokens+now.Sub(b.last).Seconds()*inputsPerSecond)
	b.last = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

// unixMs is milliseconds since 1970, with a fraction.
func unixMs(t time.Time) float64 {
	ms := t.UnixMilli()
	return float64(ms) + float64(t.UnixNano()-ms*1e6)/1e6
}
