package engine

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/loop"
)

// bridgeBytes is how much the goroutines of a bridge carry at a time.
const bridgeBytes = 4 << 10

// bridge makes a connection that a loop can hold, of one whose socket cannot be taken
// from under it, such as TLS of the program's own. Two goroutines carry the bytes.
func (e *Engine) bridge(foreign net.Conn, m *arrival) (net.Conn, error) {
	near, far, err := loop.Pair()
	if err != nil {
		e.main.turnAway(foreign, 503, "too many connections")
		return nil, fmt.Errorf("engine: a %T needs a pair of sockets to come to a loop: %w", foreign, err)
	}
	m.remote, m.local = foreign.RemoteAddr(), foreign.LocalAddr()
	e.life.guards.Go(func() {
		defer context.AfterFunc(e.life.bridges, func() { abandon(foreign) })()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			e.carryIn(far, foreign)
		}()
		e.carryOut(foreign, far)
		<-ended
		_ = far.Close()
		_ = foreign.Close()
	})
	return near, nil
}

// carryIn brings what the peer sends to the loop.
func (e *Engine) carryIn(far, foreign net.Conn) {
	_, err := io.CopyBuffer(struct{ io.Writer }{far}, struct{ io.Reader }{foreign}, make([]byte, bridgeBytes))
	if err == nil {
		endWriting(far)
		return
	}
	_ = far.Close() // also if the stream was cut off
}

// carryOut brings what the loop sends to the peer, and ends the stream to it. A peer
// that takes nothing is given up after WriteStallTimeout. Then the peer has
// lingerTimeout to end its own.
func (e *Engine) carryOut(foreign, far net.Conn) {
	set := e.set
	for b := make([]byte, bridgeBytes); ; {
		n, err := far.Read(b)
		if n > 0 {
			_ = foreign.SetWriteDeadline(time.Now().Add(min(set.WriteStallTimeout, limit.Longest)))
			if _, err = foreign.Write(b[:n]); err != nil {
				_ = far.Close()
			}
		}
		if err != nil {
			break
		}
	}
	endWriting(foreign)
	_ = foreign.SetReadDeadline(time.Now().Add(lingerTimeout))
}

// abandon closes a connection at once. TLS would wait until the peer has taken its
// farewell.
func abandon(nc net.Conn) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	_ = nc.Close()
}

// endWriting ends the stream of a connection in one direction.
func endWriting(nc net.Conn) {
	if cw, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
}
