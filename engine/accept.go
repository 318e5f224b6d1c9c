package engine

import (
	"errors"
	"io"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

const (
	// acceptorsPerListener bounds the connections on their way into the loops.
	// Each acceptor waits for a loop to take its connection; a loop that is
	// held up makes only some of them wait.
	acceptorsPerListener = 8

	acceptDelayMin = 5 * time.Millisecond
	acceptDelayMax = time.Second

	refuseTimeout  = time.Second
	refuseBytesMax = 64 << 10

	// turnedAwayMax bounds those who are waited for after they were refused.
	turnedAwayMax = 64
)

var errFull = errors.New("engine: Config.ConnectionsMax connections are open")

// accept feeds the loops until the listener is closed. Any other error, such
// as EMFILE when the descriptors are used up, is waited out, whether the
// listener or the loop met it.
func (e *Engine) accept() {
	delay := time.Duration(0)
	for {
		nc, err := e.listener.Accept()
		if err == nil {
			err = e.arrive(nc)
		}
		switch {
		case err == nil:
			delay = 0
		case errors.Is(err, net.ErrClosed):
			return
		default:
			delay = min(max(2*delay, acceptDelayMin), acceptDelayMax)
			e.log.Error("accepting failed; trying again", zap.Error(err), zap.Duration("after", delay))
			if !e.pause(delay) {
				return
			}
		}
	}
}

// pause waits, and reports false if the engine stops meanwhile.
func (e *Engine) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-e.stopping:
		return false
	}
}

// arrive takes an accepted connection in, or refuses it. An error is this
// process's fault, as one of Accept.
func (e *Engine) arrive(nc net.Conn) error {
	if !loop.Supported(nc) {
		e.log.Error("Config.Listener accepts connections that no loop can hold: it must return *net.TCPConn or *net.UnixConn",
			zap.String("remote", nc.RemoteAddr().String()))
		_ = nc.Close()
		return nil
	}
	return e.take(nc, nil)
}

// take puts a connection on a loop, or refuses it.
func (e *Engine) take(nc net.Conn, head []byte) error {
	addr := hostAddr(nc.RemoteAddr())
	counted := !e.exempt(addr)
	if counted {
		if refusal := e.addresses.enter(addr, time.Since(e.began).Milliseconds()); refusal != nil {
			return e.deny(nc, head != nil, refusal.Status, refusal.Reason)
		}
	}
	if full := e.halfOpen.Load() >= int64(e.cfg.HalfOpenMax) || e.buffered.Load() >= int64(e.cfg.BufferBytesMax) || e.admit(false) != nil; full {
		if counted {
			e.addresses.leave(addr)
		}
		return e.deny(nc, head != nil, 503, "the server is full, try again later")
	}
	return e.enroll(nc, head, counted)
}

// deny turns a connection away for the peer's own sake: nothing failed here.
// An acceptor does not wait for it: whoever is refused and stays would keep
// everybody else out.
func (e *Engine) deny(nc net.Conn, mounted bool, status int, reason string) error {
	e.refused.Add(1)
	switch {
	case mounted: // on a goroutine of its own already
		e.turnAway(nc, status, reason)
	case e.turning.Add(1) > turnedAwayMax:
		e.turning.Add(-1)
		e.answer(nc, status, reason)
		_ = nc.Close()
	default:
		e.acceptors.Go(func() {
			defer e.turning.Add(-1)
			e.turnAway(nc, status, reason)
		})
	}
	return nil
}

// answer writes an HTTP error to a connection that no loop has, and ends the
// stream. It does not wait for the peer: the answer is short.
func (e *Engine) answer(nc net.Conn, status int, reason string) {
	_ = nc.SetDeadline(time.Now().Add(refuseTimeout))
	if !e.raw {
		if _, err := nc.Write(protocol.AppendReply(nil, status, reason, nil)); err != nil {
			return
		}
	}
	if cw, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
}

// turnAway answers a connection that cannot be taken with an HTTP error. It
// reads what arrives meanwhile, so that the answer is not destroyed by a reset.
func (e *Engine) turnAway(nc net.Conn, status int, reason string) {
	defer nc.Close()
	e.answer(nc, status, reason)
	_, _ = io.CopyN(io.Discard, nc, refuseBytesMax)
}
