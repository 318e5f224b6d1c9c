package engine

import (
	"context"
	"errors"
	"math"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// This file describes connections for those who operate a program. A loop describes
// a few of its connections at a time, and serves the others in between.

const (
	inspectMax  = 256                    // connections that are described at a time
	inspectTime = 400 * time.Microsecond // and what a loop spends on them at most, but for one call of Config.Describe
	textMax     = 256                    // bytes of ConnInfo.Text
)

// ConnInfo describes a connection as it is at a moment.
type ConnInfo struct {
	Conn        *Conn
	Listener    *Listener  // see Conn.Listener
	Handler     *Handler   // whose callbacks it has
	Client      netip.Addr // see Conn.ClientAddr
	Text        string     // of Config.Describe, cut to 256 bytes; of an open connection
	Origin      ConnOrigin
	Phase       ConnPhase
	Age         time.Duration // since it came to its loop, to the second
	Stats       ConnStats
	Queued      int // see Conn.QueuedBytes
	Paused      PauseReasons
	Protocol    string // "websocket", or the scheme of its listener, "" if that is not known
	Subprotocol string
	TLS         bool
	Deflate     DeflateMode // of a WebSocket connection, as it was agreed: 0, DeflateNoTakeover or DeflateTakeover
	Topics      int         // subscriptions
	Congested   bool        // the kernel does not take more for it
	Unanswered  bool        // nothing has come since it was pinged
	Tapped      bool        // somebody looks at its frames
}

// ConnPhase is how far a connection has come.
type ConnPhase uint8

// The phases, in their order.
const (
	ConnOpening ConnPhase = phaseOpening // the handshake is under way
	ConnOpen    ConnPhase = phaseOpen
	ConnClosing ConnPhase = phaseClosing // this side sent its close frame and awaits the peer's
	ConnEnding  ConnPhase = phaseEnding  // the session is over: what waits is written, then the stream ends
	ConnGone    ConnPhase = phaseGone
)

func (p ConnPhase) String() string {
	return [...]string{"opening", "open", "closing", "ending", "gone"}[min(p, ConnGone)]
}

// ConnOrigin says how a connection came about.
type ConnOrigin uint8

// The origins.
const (
	ConnAccepted ConnOrigin = ConnOrigin(accepted) // by a listener
	ConnMounted  ConnOrigin = ConnOrigin(mounted)  // through Engine.Upgrade
	ConnDialled  ConnOrigin = ConnOrigin(dialled)
)

func (o ConnOrigin) String() string {
	return [...]string{"accepted", "mounted", "dialled"}[min(o, ConnDialled)]
}

// PauseReasons are why a connection is not read: a set.
type PauseReasons uint16

var pauseNames = [...]string{"backlog", "user", "offload", "rate", "hold", "upgrade", "turn", "pipe", "operator"}

// Names are the reasons: "backlog" (too much waits to be sent), "user" (PauseReading),
// "offload" (a function of Conn.Go), "rate" (the peer sends too much), "hold" (Conn.Hold),
// "upgrade" (a function of Upgrade.Go), "turn" (the rest of its input waits for a later
// turn of the loop), "pipe" (Pipe), "operator" (PauseByOperator).
func (p PauseReasons) Names() (names []string) {
	for i, name := range pauseNames {
		if p&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

var errInspectOnLoop = errors.New("engine: Inspect or Tap was called in a callback, and would wait for that callback: call it in a goroutine")

// Inspect calls visit for all connections that are on the loops, those included whose
// handshake is under way, some at a time: infos is valid until visit returns, and
// visit is not called by two goroutines at once. It ends when visit returns false.
// No loop is held for more than a millisecond: what happens meanwhile may show, and if
// connections leave then, others may be visited twice. It waits for loops that are held
// up until ctx ends, and returns those that did not answer by then, or have ended. It
// fails in a callback.
func (e *Engine) Inspect(ctx context.Context, visit func(infos []ConnInfo) bool) (silent []*Loop, err error) {
	if e.onLoop() {
		return nil, errInspectOnLoop
	}
	workers := e.running()
	answered := make([]bool, len(workers))
	var (
		mu    sync.Mutex // held while visit runs
		done  bool
		loops sync.WaitGroup
	)
	for i, w := range workers {
		loops.Go(func() {
			answered[i] = w.inspectAll(ctx, func(infos []ConnInfo) bool {
				mu.Lock()
				defer mu.Unlock()
				done = done || len(infos) > 0 && !visit(infos)
				return !done
			})
		})
	}
	loops.Wait()
	for i, w := range workers {
		if !answered[i] {
			silent = append(silent, &w.api)
		}
	}
	return silent, nil
}

// inspectAll has the loop describe its connections. It reports whether the loop has
// answered.
func (w *worker) inspectAll(ctx context.Context, visit func([]ConnInfo) bool) bool {
	buf := make([]ConnInfo, 0, inspectMax) // the loop's, until it answers
	for next := math.MaxInt; next > 0; {
		answer := make(chan []ConnInfo, 1)
		if w.post(post{do: func() {
			if ctx.Err() == nil {
				buf, next = w.inspect(buf[:0], next)
				answer <- buf
			}
		}}) != nil {
			return false
		}
		select {
		case infos := <-answer:
			if !visit(infos) {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// inspect describes the connections before a place in the list, from the last to the
// first, as many as there is time for: so that those which take the places of others
// that leave have been described, and none is left out. It returns the next place.
func (w *worker) inspect(buf []ConnInfo, next int) (_ []ConnInfo, left int) {
	began := w.e.elapsed()
	for next = min(next, len(w.conns)); next > 0 && len(buf) < cap(buf); {
		next--
		c := w.conns[next]
		buf = append(buf, ConnInfo{})
		c.describe(&buf[len(buf)-1])
		if (len(buf)%8 == 0 || c.ep.Describe != nil) && w.e.elapsed()-began >= inspectTime {
			break
		}
	}
	return buf, next
}

// describe runs on the loop.
func (c *Conn) describe(i *ConnInfo) {
	w := c.w
	*i = ConnInfo{
		Conn: c, Listener: c.ep.listener, Handler: c.h, Client: c.ClientAddr(),
		Origin: ConnOrigin(c.origin), Phase: ConnPhase(c.end.phase.Load()), //nolint:gosec // a phase
		Age:   time.Duration(uint32(w.now()/1000)-c.live.since) * time.Second, //nolint:gosec // 136 years
		Stats: c.Stats(), Queued: c.QueuedBytes(), Paused: PauseReasons(c.in.paused), Protocol: c.ep.protocolName(),
		Subprotocol: c.Subprotocol(), TLS: c.tls != nil, Topics: int(c.lists.topics.Load()), Congested: c.flow.congested,
		Unanswered: c.in.life == pinged || c.in.life == pending, Tapped: c.tapped() != nil,
	}
	if on, takeover := c.ws.Compression(); takeover {
		i.Deflate = DeflateTakeover
	} else if on {
		i.Deflate = DeflateNoTakeover
	}
	if f := c.ep.Describe; f != nil && i.Phase == ConnOpen {
		w.calling(onDescribe, c)
		c.guard(func() { i.Text = f(c) })
		w.called()
		if len(i.Text) > textMax {
			i.Text = strings.ToValidUTF8(i.Text[:textMax], "")
		}
	}
}

// protocolName is what an operator calls the protocol of an endpoint.
func (ep *endpoint) protocolName() string {
	switch {
	case ep.codec == nil:
		return "websocket"
	case ep.listener != nil:
		return ep.listener.scheme
	}
	return ""
}

// ConnDetail is more of one connection.
type ConnDetail struct {
	ConnInfo
	TLSVersion    uint16   // such as tls.VersionTLS13; 0 without TLS
	TLSCipher     uint16   // see tls.CipherSuiteName
	TLSServerName string   // that a client asked for
	TopicNames    []string // sorted, the first 100
}

// topicNamesMax bounds ConnDetail.TopicNames.
const topicNamesMax = 100

// Inspect describes the connection. It waits for its loop until ctx ends, and fails in a
// callback, with ErrClosed if the connection has gone, and with ErrStopped.
func (c *Conn) Inspect(ctx context.Context) (*ConnDetail, error) {
	if c.w.e.onLoop() {
		return nil, errInspectOnLoop
	}
	answer := make(chan *ConnDetail, 1)
	if err := c.w.post(post{do: func() { answer <- c.detail() }}); err != nil {
		return nil, err
	}
	select {
	case d := <-answer:
		if d.Phase == ConnGone {
			return nil, ErrClosed
		}
		return d, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (c *Conn) detail() *ConnDetail {
	d := new(ConnDetail)
	if c.describe(&d.ConnInfo); c.tls != nil && d.Phase != ConnGone {
		s := c.tls.State()
		d.TLSVersion, d.TLSCipher, d.TLSServerName = s.Version, s.CipherSuite, s.ServerName
	}
	if c.extra != nil {
		for _, m := range c.extra.topics {
			d.TopicNames = append(d.TopicNames, m.t.name)
		}
		slices.Sort(d.TopicNames)
		d.TopicNames = d.TopicNames[:min(len(d.TopicNames), topicNamesMax)]
	}
	return d
}

// Conn returns the connection with an ID that is on a loop, or nil. It looks at one after
// the other, and holds no loop. Any goroutine may call it.
func (e *Engine) Conn(id uint64) *Conn {
	some := make([]*Conn, 1024)
	for _, w := range e.running() {
		for next := math.MaxInt; next > 0; { // from the last to the first: see inspect
			w.mu.Lock()
			next = min(next, len(w.conns))
			n := copy(some, w.conns[max(next-len(some), 0):next])
			w.mu.Unlock()
			next -= n
			for _, c := range some[:n] {
				if c.who.id == id {
					return c
				}
			}
		}
	}
	return nil
}
