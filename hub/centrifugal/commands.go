package centrifugal

import (
	"context"
	"errors"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// batch is the commands of a frame while they are carried out.
type batch struct {
	x   *session
	s   *Server
	ctx context.Context // of the command
	out []byte          // answers that are not sent yet
}

// work carries out the commands of a frame, one after the other. Their answers go in one frame, but for those that must be sent
// before something else is. If one of them is malformed, none is carried out.
func (x *session) work(ctx context.Context, m engine.Message) {
	b := batch{x: x, s: x.s}
	err := b.carryOutAll(ctx, m.Data)
	if b.flush() != nil {
		return
	}
	var d Disconnect
	if errors.As(err, &d) {
		x.close(d)
	}
}

func (b *batch) carryOutAll(ctx context.Context, frame []byte) error {
	x := b.x
	x.begin()
	defer x.end()
	commands, err := x.format.decode(frame, b.s.cfg.CommandsPerFrameMax)
	if err != nil {
		return DisconnectBadRequest
	}
	for i, c := range commands {
		if i > 0 && x.ended() {
			return errGone
		}
		if err := b.carryOut(ctx, c); err != nil {
			return err
		}
	}
	return nil
}

// carryOut carries out a command and answers it. If it fails, the commands behind it are not carried out: with a Disconnect
// the connection has to be closed.
func (b *batch) carryOut(ctx context.Context, c *cf.Command) error {
	x, s := b.x, b.s
	if timeout := s.cfg.CommandTimeout; timeout > 0 && s.waits {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	b.ctx = ctx
	do := methodOf(c)
	err := b.admit(c, do)
	if err == nil && do != nil {
		err = do(b, c)
	}
	if err == nil {
		return nil
	}
	err = s.answer(x, err)
	var e Error
	if !errors.As(err, &e) {
		return err
	}
	if c.Id == 0 {
		return nil // send has no answer
	}
	b.reply(&cf.Reply{Id: c.Id, Error: e.proto()})
	if c.Connect != nil {
		x.failed = true
		return errGone
	}
	return nil
}

// admit decides whether a command is carried out.
func (b *batch) admit(c *cf.Command, do method) error {
	x, most := b.x, b.s.cfg.CommandsPerSecondMax
	known := x.known() != nil
	switch n := x.rate.add(b.s.time()); {
	case x.failed, !known && c.Connect == nil, known && c.Connect != nil, c.Id == 0 && do != nil && c.Send == nil:
		return DisconnectBadRequest
	case do == nil && c.Id == 0: // an answer to a ping, among others
		if !x.pong() {
			return DisconnectBadRequest
		}
	case most > 0 && (n > 2*most || n > most && c.Id == 0):
		return DisconnectTooManyRequests
	case most > 0 && n > most:
		return ErrTooManyRequests
	case do == nil:
		return ErrMethod
	}
	return nil
}

// known returns the client, once the connection has one.
func (x *session) known() *hub.Client {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.client
}

// ended reports whether the connection was closed, by a kick for example, so that what its client still asks for is not
// done.
func (x *session) ended() bool {
	return x.conn.Unsubscribe(noTopic) != nil
}

// noTopic is a topic that nobody subscribes to: to unsubscribe from it only tells whether the connection is open.
const noTopic = "\x00centrifugal"

// method carries out a kind of command, and answers it if it does not fail.
type method func(b *batch, c *cf.Command) error

// methodOf returns what carries out a command: the first that is set. nil: none is.
func methodOf(c *cf.Command) method {
	switch {
	case c.Connect != nil:
		return (*batch).connect
	case c.Subscribe != nil:
		return (*batch).subscribe
	case c.Unsubscribe != nil:
		return (*batch).unsubscribe
	case c.Publish != nil:
		return (*batch).publish
	case c.Presence != nil:
		return (*batch).presence
	case c.PresenceStats != nil:
		return (*batch).presenceStats
	case c.History != nil:
		return (*batch).history
	case c.Rpc != nil:
		return (*batch).rpc
	case c.Send != nil:
		return (*batch).send
	case c.Refresh != nil:
		return (*batch).refresh
	case c.SubRefresh != nil:
		return (*batch).subRefresh
	case c.Ping != nil:
		return func(*batch, *cf.Command) error { return ErrNotAvailable }
	}
	return nil
}

// outBytesMax is from how many bytes on answers are sent before the commands of the frame are done.
const outBytesMax = 64 << 10

// reply adds an answer.
func (b *batch) reply(r *cf.Reply) {
	if b.out = b.x.format.append(b.out, r); len(b.out) >= outBytesMax {
		_ = b.flush() // the next one fails too
	}
}

// flush sends the answers.
func (b *batch) flush() error {
	if len(b.out) == 0 {
		return nil
	}
	err := b.x.send(b.out)
	b.out = b.out[:0]
	return err
}
