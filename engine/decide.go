package engine

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// Go has f decide the handshake off the loop, for what blocks: a session in a
// database, another server that is asked first. OnUpgrade calls it last:
//
//	OnUpgrade: func(u *engine.Upgrade) error {
//		return u.Go(func(ctx context.Context) error {
//			user, err := find(ctx, u.Request.Cookie("session"))
//			if err != nil {
//				return engine.Refuse(401, "log in first")
//			}
//			u.State = user
//			return nil
//		})
//	}
//
// What f returns, and what it sets in u, counts as if OnUpgrade had done so. u
// and u.Request are valid until f returns, and are f's alone: OnUpgrade must not
// touch them after Go. If OnUpgrade returns an error nevertheless, the handshake
// is refused and f does not run.
//
// ctx is Conn.Context of the connection. It ends when the client leaves, when
// Config.HandshakeTimeout is over (the client gets 503), and when the engine is
// shut down (503); what f returns then is ignored. Otherwise it lives as long
// as the connection, so that what f obtained for it can be given back with
// context.AfterFunc, whether the connection opens or not. A panic of f is
// logged and answered with 500.
//
// At most Config.UpgradesMax functions run at once; the others wait, and their
// time runs. Until f has returned the connection counts among
// Config.HalfOpenMax, even if the client has left.
//
// Go is for OnUpgrade and may be called once; its error says if it was not so.
func (u *Upgrade) Go(f func(ctx context.Context) error) error {
	if u.c == nil || u.decide != nil {
		return errors.New("engine: Upgrade.Go may be called once, by OnUpgrade before it returns")
	}
	u.decide = f
	return nil
}

// earlyBytesMax is what a client may send behind its handshake before that is
// decided, where reading cannot be paused.
const earlyBytesMax = loop.ReadBytesMax

// deciding reports whether a function of Upgrade.Go has still to decide.
func (c *Conn) deciding() bool {
	u := c.input().upgrade
	return u != nil && u.decide != nil
}

// await has the function of u decide the handshake. u keeps the request.
func (c *Conn) await(u *Upgrade) {
	w := c.w
	w.scratch.request, w.env.Request = nil, protocol.Request{}
	c.needInput().upgrade = u
	c.park(w.batch.in)
	w.batch.in = nil
	c.pause(pausedUpgrade)
	_ = c.Context()          // made now, so that a hang-up before the function runs finds it
	_ = c.sock.WatchHangup() // it ends ctx: while reading is paused, nothing else tells that the client has left
	c.ep.e.upgrades.submit(u)
}

// run is called off the loop.
func (u *Upgrade) run() {
	c := u.c
	var err error
	if ctx := c.Context(); ctx.Err() == nil {
		err = u.call(ctx)
	}
	if c.w.post(post{kind: ownPost, do: func() { c.decided(u, err) }}) != nil {
		c.decided(u, err) // the loop has ended: nothing runs beside this
	}
}

func (u *Upgrade) call(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			u.c.ep.e.log.Error("a function of Upgrade.Go panicked; the client gets 500", zap.Any("panic", v),
				zap.Uint64("conn", u.c.who.id), zap.ByteString("stack", debug.Stack()))
			err = errInternal
		}
	}()
	return u.decide(ctx)
}

// decided goes on with the handshake after the function of u has returned.
func (c *Conn) decided(u *Upgrade, err error) {
	w := c.w
	c.needInput().upgrade = nil
	switch phase := c.end.phase.Load(); {
	case c.ending().closed:
		c.givePlaceBack()
		return
	case phase >= phaseEnding: // the connection has ended; the request is still to be freed here
		c.ep.gate.Opened(&c.pass)
		return
	case phase != phaseOpening || c.end.stream == streamCut: // it is about to end
		return
	}
	last := w.env.Request
	w.batch.conn, w.env.Request = c, *u.Request
	c.guard(func() { c.answer(u, err) })
	w.batch.conn, w.env.Request = nil, last
	c.uncork()
	if c.unpause(pausedUpgrade); !c.in.halted {
		c.resume() // reading could not be paused
	}
}

// early takes what the client sends before its handshake is decided.
func (c *Conn) early(b []byte) {
	if len(c.input().parked)+len(b) > earlyBytesMax {
		e := &codec.HandshakeError{Status: 400, Reason: "too much was sent before the handshake was answered"}
		c.logRefusal("400", zap.WarnLevel, e, "")
		c.refuse(e)
		return
	}
	c.park(b)
}

var errInternal = &codec.HandshakeError{Status: 500, Reason: "internal server error"}

// refusal is the answer to the client for an error of OnUpgrade. It reports whether
// the program has decided on it; what else went wrong is logged.
func (e *Engine) refusal(err error) (answer *codec.HandshakeError, decided bool) {
	var refused *codec.HandshakeError
	var failed *DialError
	malformed := func(f protocol.Field) bool { return !protocol.ValidField(f) }
	switch errors.As(err, &failed); {
	case errors.Is(err, errInternal): // it is logged
		return errInternal, false
	case errors.As(err, &refused) && refused.Status >= 400 && refused.Status <= 599 && !slices.ContainsFunc(refused.Fields, malformed):
		return refused, true
	case failed != nil:
		e.log.Warn("OnUpgrade could not reach another server; the client gets 502", zap.Error(err))
		return &codec.HandshakeError{Status: 502, Reason: "the server behind this one cannot be reached"}, false
	case refused != nil:
		err = fmt.Errorf("engine: Refuse takes a status from 400 to 599 and well-formed fields: %w", err)
	}
	e.log.Error("OnUpgrade failed; the client gets 500", zap.Error(err))
	return errInternal, false
}
