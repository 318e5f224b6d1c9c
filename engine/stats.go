package engine

import "sync/atomic"

// Stats are counters of an Engine since it was made.
type Stats struct {
	Connections int    // in use now, handshakes and plain HTTP included
	Open        int    // of these, open WebSocket connections
	Accepted    uint64 // connections that reached a loop
	Refused     uint64 // connections turned away by ConnectionsMax
	ConnStats          // of all open connections, past and present
}

// ConnStats are counters of a connection since it was accepted. Bytes are those
// of the TCP stream, handshake included.
type ConnStats struct {
	BytesIn, BytesOut, MessagesIn, MessagesOut uint64
}

func (s *ConnStats) add(o ConnStats) {
	s.BytesIn += o.BytesIn
	s.BytesOut += o.BytesOut
	s.MessagesIn += o.MessagesIn
	s.MessagesOut += o.MessagesOut
}

// connStats is ConnStats with one writer, the loop, and any reader.
type connStats struct {
	bytesIn, bytesOut, messagesIn, messagesOut counter
}

type counter struct{ n atomic.Uint64 }

// add is for the loop alone, and cheaper than an atomic addition.
func (c *counter) add(n uint64) { c.n.Store(c.n.Load() + n) }

// Stats returns the counters of the connection.
func (c *Conn) Stats() ConnStats {
	return ConnStats{
		BytesIn:     c.stats.bytesIn.n.Load(),
		BytesOut:    c.stats.bytesOut.n.Load(),
		MessagesIn:  c.stats.messagesIn.n.Load(),
		MessagesOut: c.stats.messagesOut.n.Load(),
	}
}

// Stats returns the counters of the engine. It visits every connection.
func (e *Engine) Stats() Stats {
	s := Stats{Accepted: e.accepted.Load(), Refused: e.refused.Load()}
	e.mu.Lock()
	s.Connections = e.active
	e.mu.Unlock()
	for _, w := range e.running() {
		w.mu.Lock()
		s.ConnStats.add(w.past)
		for _, c := range w.conns {
			if c.phase.Load() == phaseOpen {
				s.Open++
			}
			s.ConnStats.add(c.Stats())
		}
		w.mu.Unlock()
	}
	return s
}
