package engine

import "sync/atomic"

// Stats are counters of an Engine since it was made.
type Stats struct {
	Connections   int    // in use now; handshakes, plain HTTP and what Dial is to make included
	Most          int    // that may be in use: ConnectionsMax, or what the descriptors allow
	Open          int    // of these, open WebSocket connections, dialled ones included
	Accepted      uint64 // connections that came and reached a loop
	Dialled       uint64 // connections of Dial that reached a loop
	DialFailed    uint64 // attempts of Dial that failed
	Refused       uint64 // connections turned away by a limit of Config, or during a shutdown
	TakeoverBytes int    // of DeflateTakeoverBytes that are granted
	LoopHeld      uint64 // callbacks that held a loop longer than CallbackWarnAfter
	ConnStats            // of all open connections, past and present
}

// ConnStats are counters of a connection since it was accepted. Bytes are those
// of the TCP stream, handshake included. They only rise. Every message that was
// sent is in the end counted by one of MessagesOut, Dropped and Replaced; until
// then it waits. A message counts as sent if Send returned nil or
// ErrBackpressure.
type ConnStats struct {
	BytesIn, BytesOut uint64
	MessagesIn        uint64
	MessagesOut       uint64 // the kernel took all of it; of messages that had to wait, up to 64 KiB are counted together
	Dropped           uint64 // by a Policy, or because the connection ended before the kernel took it
	Replaced          uint64 // by a later message of the same Key
	RateLimited       uint64 // times that reading paused because the peer sent too much
}

func (s *ConnStats) add(o ConnStats) {
	s.BytesIn += o.BytesIn
	s.BytesOut += o.BytesOut
	s.MessagesIn += o.MessagesIn
	s.MessagesOut += o.MessagesOut
	s.Dropped += o.Dropped
	s.Replaced += o.Replaced
	s.RateLimited += o.RateLimited
}

// connStats is ConnStats with one writer, the loop, and any reader.
type connStats struct {
	bytesIn, bytesOut, messagesIn, messagesOut, replaced, rateLimited counter

	dropped atomic.Uint64 // also by senders off the loop
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
		Dropped:     c.stats.dropped.Load(),
		Replaced:    c.stats.replaced.n.Load(),
		RateLimited: c.stats.rateLimited.n.Load(),
	}
}

// QueuedBytes is how many bytes wait to be written to the peer, those that wait
// in the loop's inbox included: 0 if the kernel has taken all that was sent. Any
// goroutine may call it.
func (c *Conn) QueuedBytes() int { return int(c.queued.Load()) }

// Stats returns the counters of the engine. It visits every connection.
func (e *Engine) Stats() Stats {
	admitted := e.gate.Counts()
	s := Stats{Connections: admitted.Inside, Most: e.cfg.ConnectionsMax, Accepted: e.accepted.Load(), Refused: admitted.Refused,
		Dialled: e.dialled.Load(), DialFailed: e.dialFailed.Load(), TakeoverBytes: int(e.takeover.used.Load())}
	for _, w := range e.running() {
		w.mu.Lock()
		s.ConnStats.add(w.past)
		s.LoopHeld += w.watch.held.Load()
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
