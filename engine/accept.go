package engine

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
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

	refuseTimeout = time.Second

	// turnedAwayMax bounds the refused connections that are still open, so that
	// their peers can read the refusal.
	turnedAwayMax = 64
)

var errFull = errors.New("engine: Config.ConnectionsMax connections are open")

// accept gives connections to the loops until the listener is closed. Any other error, such
// as EMFILE when the descriptors are used up, is waited out, whether the
// listener or the loop met it.
func (l *Listener) accept() {
	delay := time.Duration(0)
	for {
		nc, err := l.net.Accept()
		if err == nil {
			err = l.arrive(nc)
		}
		switch {
		case err == nil:
			delay = 0
		case errors.Is(err, net.ErrClosed):
			return
		default:
			delay = min(max(2*delay, acceptDelayMin), acceptDelayMax)
			l.ep.e.log.Error("accepting failed; trying again", zap.Stringer("listener", l), zap.Error(err), zap.Duration("after", delay))
			if !l.pause(delay) {
				return
			}
		}
	}
}

// pause waits, and reports false if the listener is closed meanwhile.
func (l *Listener) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-l.closing.Done():
		return false
	}
}

// arrive takes an accepted connection in, or refuses it. An error, like one of
// Accept, means that this process lacks something, such as descriptors.
func (l *Listener) arrive(nc net.Conn) error {
	if !loop.Supported(nc) {
		l.ep.e.log.Error("Config.Listener accepts connections that no loop can hold: it must return *net.TCPConn or *net.UnixConn (TLS is Config.TLS)",
			zap.String("remote", nc.RemoteAddr().String()))
		_ = nc.Close()
		return nil
	}
	if l.ep.tls != nil {
		l.ep.arriveTLS(nc)
		return nil
	}
	return l.ep.take(nc, nil)
}

// take puts a connection on a loop, or refuses it.
func (ep *endpoint) take(nc net.Conn, m *arrival) error {
	remote := nc.RemoteAddr()
	if m != nil && m.remote != nil {
		remote = m.remote
	}
	pass, why := ep.gate.Enter(hostAddr(remote), ep.e.elapsed().Milliseconds())
	if why != admit.Admitted {
		ep.deny(nc, m != nil, why)
		return nil
	}
	return ep.enroll(nc, m, &pass)
}

// deny turns a connection away that the gate refused. An acceptor does not wait
// for it: whoever is refused and stays would keep everybody else out.
func (ep *endpoint) deny(nc net.Conn, mounted bool, why admit.Refusal) {
	ep.logDenied(nc.RemoteAddr(), netip.Addr{}, why, true)
	switch {
	case mounted: // this is the goroutine of its http.Handler already
		ep.turnAway(nc, why.Status(), why.Text())
	case ep.e.turning.Add(1) > turnedAwayMax:
		ep.e.turning.Add(-1)
		ep.answer(nc, why.Status(), why.Text())
		_ = nc.Close()
	default:
		ep.e.life.servers.Go(func() {
			defer ep.e.turning.Add(-1)
			ep.turnAway(nc, why.Status(), why.Text())
		})
	}
}

// refusalOf is what the client of a connection on a loop is told.
func refusalOf(why admit.Refusal) *codec.HandshakeError {
	return &codec.HandshakeError{Status: why.Status(), Reason: why.Text()}
}

// answer writes an HTTP error to a connection that no loop has, and ends the
// stream. It does not wait for the peer: the answer is short.
func (ep *endpoint) answer(nc net.Conn, status int, reason string) {
	_ = nc.SetDeadline(time.Now().Add(refuseTimeout))
	if !ep.raw {
		if _, err := nc.Write(protocol.AppendReply(nil, status, reason, nil)); err != nil {
			return
		}
	}
	if cw, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
}

// turnAway answers a connection that cannot be taken with an HTTP error. It
// reads what arrives meanwhile, so that the answer is not destroyed by a reset:
// as long as the peer goes on sending, for DiscardTimeout at most.
func (ep *endpoint) turnAway(nc net.Conn, status int, reason string) {
	defer nc.Close()
	ep.answer(nc, status, reason)
	ep.readOut(nc)
}

// readOut reads what a peer goes on sending, for DiscardTimeout at most.
func (ep *endpoint) readOut(nc net.Conn) {
	for end := time.Now().Add(ep.DiscardTimeout); time.Now().Before(end); {
		_ = nc.SetReadDeadline(time.Now().Add(min(refuseTimeout, time.Until(end))))
		n, err := io.Copy(io.Discard, nc)
		if !errors.Is(err, os.ErrDeadlineExceeded) || n < lingerBytesMin || ep.e.life.serving.Err() != nil {
			return
		}
	}
}
