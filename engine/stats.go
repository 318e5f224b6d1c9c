package engine

import (
	"sync"
	"sync/atomic"

	"github.com/sockmill/sockmill/codec"
)

// Stats are counters of an Engine since it was made. Those of type uint64 only
// rise, and they add up:
//
//	Accepted + Dialled = Closed + connections that are on a loop
//	MessagesSent = MessagesOut + Dropped + Replaced + messages that wait
//
// On a loop are connections whose handshake is under way, open ones (Open), those
// that are closing, and those whose head has not shown yet that Config.HTTP is
// meant. Messages wait for their peer; before that, those from other goroutines
// wait for their loop, and are not counted yet.
type Stats struct {
	Connections   int    // in use now; handshakes, plain HTTP, what Dial is to make, and who is gone but for functions of Conn.Go included
	Most          int    // the highest number that may be in use: ConnectionsMax, or what the descriptors allow
	Open          int    // of these, open WebSocket connections, dialled ones included
	Accepted      uint64 // connections that came to a loop, each before its OnOpen; one that comes back from net/http counts again
	Dialled       uint64 // connections of Dial that came to a loop
	Closed        uint64 // of these both, those that have left their loop: closed, or handed to Config.HTTP
	DialFailed    uint64 // attempts of Dial that failed
	Refused       uint64 // connections turned away by a limit of Config, or during a shutdown
	TakeoverBytes int    // of DeflateTakeoverBytes that are granted
	LoopHeld      uint64 // callbacks, and turns of many, that held a loop longer than CallbackWarnAfter
	MessagesSent  uint64 // that Send, a broadcast or a topic gave to a connection
	Discarded     uint64 // of Dropped, those whose connection ended before the kernel took them
	ConnStats            // of all connections, past and present
}

// ConnStats are counters of a connection since it was accepted. Bytes are those
// of the TCP stream, or of what TLS carries in it, opening handshake included. UDP packets are counted in Stats alone, as
// MessagesIn and BytesIn; see ListenerStats. They only rise. Every message that was
// sent is in the end counted by one of MessagesOut, Dropped and Replaced; until
// then it waits. A message counts as sent if Send returned nil or
// ErrBackpressure.
type ConnStats struct {
	BytesIn, BytesOut uint64
	MessagesIn        uint64
	MessagesOut       uint64 // the kernel took all of it; of messages that had to wait, up to 64 KiB are counted together
	Dropped           uint64 // by a Policy, because the connection ended before the kernel took it, or because its protocol cannot carry it
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
func (c *Conn) QueuedBytes() int { return int(c.out.queued.Load()) }

// Stats returns the counters of the engine. It costs the same however many
// connections there are. Bytes and messages are those of each loop at the end of
// its last turn, or on a loop its own of this moment. Any goroutine may call it.
func (e *Engine) Stats() Stats {
	admitted := e.gate.Counts()
	s := Stats{Connections: admitted.Inside, Most: e.set.ConnectionsMax, Refused: admitted.Refused,
		DialFailed: e.dialer.failed.Load(), TakeoverBytes: int(e.memory.takeover.used.Load())}
	for _, w := range e.running() {
		w.addTo(&s)
	}
	return s
}

// loopStats are the counters of a loop.
type loopStats struct {
	untold  []*lane // whose current has changed in this turn
	past    *lane   // of listeners that are no more
	current work

	_          [64]byte // the loop does not write to what others write to
	closes     [closeKinds]counter
	handshakes [len(handshakeResults)]counter

	pings, pingsUnanswered, backlogs, backlogsEnded counter

	refused atomic.Uint64 // messages, by senders off the loop

	mu    sync.Mutex
	lanes []*lane // of all listeners that the engine has, and of connections without one
	told  work
	_     [64]byte
}

// work is what a loop has at hand, and what it did, as it is at the end of a turn.
type work struct {
	queued     int64 // bytes in the queues of connections
	posts      int   // that were taken from the inbox, and are not carried out
	postBytes  int64 // their payloads
	compressed codec.Compression
	inflated   codec.Compression
}

// tell copies what is current to where other goroutines read it.
func (w *worker) tell() {
	s, b := &w.stats, &w.inbox
	s.current.posts, s.current.postBytes = len(b.taken)-b.next, b.takenPayload
	s.current.compressed, s.current.inflated = w.env.Compressed, w.env.Inflated
	if len(s.untold) == 0 && s.told == s.current { // nobody else writes to told
		return
	}
	s.mu.Lock()
	for _, l := range s.untold {
		l.untold, l.told = false, l.current
	}
	s.told = s.current
	s.mu.Unlock()
	s.untold = s.untold[:0]
}

// addTo adds the counters of a loop. Parts are read before their sums, so that no
// part is ever larger than its sum.
func (w *worker) addTo(s *Stats) {
	on := w.on()
	w.stats.mu.Lock()
	defer w.stats.mu.Unlock()
	for _, l := range w.stats.lanes {
		s.Closed += l.closed.n.Load()
		s.Open -= int(l.ended.n.Load())
		s.Open += int(l.opened.n.Load())
		s.Accepted += l.accepted.n.Load()
		s.Dialled += l.dialled.n.Load()
		t := l.traffic(on)
		s.ConnStats.add(t.ConnStats)
		s.MessagesSent += t.sent
		s.Discarded += t.discarded
	}
	s.LoopHeld += w.watch.held.Load()
	refused := w.stats.refused.Load()
	s.Dropped += refused
	s.MessagesSent += refused
}

// The loop counts what happens to a connection by these, for it and for all.

func (c *Conn) noteRead(bytes int) {
	c.stats.bytesIn.add(uint64(bytes))
	c.lane().current.BytesIn += uint64(bytes)
}

func (c *Conn) noteReceived(messages uint64) {
	c.stats.messagesIn.add(messages)
	c.lane().current.MessagesIn += messages
}

// noteSent counts messages that are written, dropped or replaced from now on, or
// wait.
func (c *Conn) noteSent(messages int) { c.lane().current.sent += uint64(messages) }

func (c *Conn) noteWritten(bytes, messages int) {
	if bytes > 0 {
		c.stats.bytesOut.add(uint64(bytes))
		c.lane().current.BytesOut += uint64(bytes)
	}
	if messages > 0 {
		c.stats.messagesOut.add(uint64(messages))
		c.lane().current.MessagesOut += uint64(messages)
	}
}

func (c *Conn) noteDropped(messages int) {
	if messages > 0 {
		c.stats.dropped.Add(uint64(messages))
		c.lane().current.Dropped += uint64(messages)
	}
}

// noteRefused is noteSent and noteDropped of one message, for senders off the loop.
func (c *Conn) noteRefused() {
	c.stats.dropped.Add(1)
	c.w.stats.refused.Add(1)
}

// noteDiscarded is noteDropped for messages whose connection ends.
func (c *Conn) noteDiscarded(messages int) {
	c.noteDropped(messages)
	c.lane().current.discarded += uint64(messages)
}

func (c *Conn) noteReplaced() {
	c.stats.replaced.add(1)
	c.lane().current.Replaced++
}

func (c *Conn) noteRateLimited() {
	c.stats.rateLimited.add(1)
	c.lane().current.RateLimited++
}

// enter changes the phase.
func (c *Conn) enter(phase uint32) {
	was := c.end.phase.Swap(phase)
	if was == phaseOpening {
		c.noteAnswered(phase)
	}
	switch {
	case phase == phaseOpen:
		c.lane().opened.add(1)
		c.lists.told = c.w.fans.last
	case was == phaseOpen:
		c.lane().ended.add(1)
		if c.flow.backlogged {
			c.w.stats.backlogsEnded.add(1)
		}
		c.missOut()
	case was == phaseOpening:
		c.endContext() // nobody needs the decision of Upgrade.Go any more
	}
}
