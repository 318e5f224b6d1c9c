package engine

import (
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
		defer foreign.Close()
		defer far.Close()
		e.life.guards.Go(func() { e.carryIn(far, foreign) })
		e.carryOut(foreign, far)
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

// carryOut brings what the loop sends to the peer. A peer that takes nothing is given
// up after WriteStallTimeout; after the loop's end, one that does not end its stream
// after DiscardTimeout.
func (e *Engine) carryOut(foreign, far net.Conn) {
	set := e.set
	for b := make([]byte, bridgeBytes); ; {
		n, err := far.Read(b)
		if n > 0 {
			_ = foreign.SetWriteDeadline(time.Now().Add(min(set.WriteStallTimeout, limit.Longest)))
			if _, err := foreign.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			break
		}
	}
	endWriting(foreign)
	_ = foreign.SetReadDeadline(time.Now().Add(lingerTimeout))
	_, _ = io.Copy(io.Discard, far) // until the other direction has ended too
}

// endWriting ends the stream of a connection in one direction.
func endWriting(nc net.Conn) {
	if cw, ok := nc.(interface{ CloseWrite() error }); ok {
		_ = cw.CloseWrite()
	}
}
