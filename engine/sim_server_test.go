package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// simConn is a connection with what is known of it: its two ends, what the
// program sent, what its callbacks saw.
type simConn struct {
	s    *sim
	id   int
	c    *Conn
	d    *simDial // who dialled it; nil: it came
	l    *simLoop
	sock *simSock
	peer *peer
	head int // bytes that came along with the connection

	client netip.Addr // that a PROXY header names

	sends     [2][]*simSend // from elsewhere, on the loop; in order
	passed    [2]int        // how many of these the peer's messages went past
	sent      map[string]*simSend
	counted   uint64 // sends that the engine has to account for
	opens     int
	closes    int
	told      *CloseError // by OnClose
	at        int64       // when it came
	forged    bool        // it has a PROXY header inside TLS
	messages  uint64
	above     bool
	accepted  int  // functions of Go
	returned  int  // of these; they run in order
	ordered   int  // accepted on the loop while it was open, and not returned
	active    bool // one runs
	telling   bool // OnClose runs
	deciding  bool // a function of Upgrade.Go has not returned
	closingAt int64
	timers    []*simTimer
	state     *simState
	aborted   bool // on its loop: only OnClose follows
	closedNow bool // on its loop, while it was open: it is over at the end of the turn
	judged    bool // checkTimeout was called
	resuming  bool // and not given a state yet

	member [simTopics]bool
}

func (c *simConn) String() string { return fmt.Sprintf("c%d", c.id) }

// errOnPurpose is what callbacks panic with.
var errOnPurpose = errors.New("on purpose")

func (s *sim) setUp() {
	s.of = map[*Conn]*simConn{}
	s.cfg = simConfig{
		steps: s.pick(300, 1000, 2500), connsMax: 1 + s.r.IntN(8),
		faults: s.pick(0, 0, 2, 20), noPause: s.chance(60), tls: s.pick(0, 0, 0, 300, 1000), bytesMax: s.pick(200, 3000, 100_000), tired: s.pick(0, 50, 300, 900),
	}
	high := s.pick(1, 1000, 20_000, 200_000)
	cfg := Config{
		SendBytesHigh: high, SendBytesMax: high + s.r.IntN(s.pick(1, 2000, 100_000)+1), Policy: Policy(s.r.IntN(int(PolicyReplace) + 1)),
		PingInterval: time.Duration(s.pick(500, 5000, 60_000)) * time.Millisecond, PongTimeout: time.Duration(s.pick(100, 5000)) * time.Millisecond,
		WriteStallTimeout: time.Duration(s.pick(200, 5000, 30_000)) * time.Millisecond, HandshakeTimeout: time.Duration(s.pick(300, 10_000)) * time.Millisecond,
		CloseTimeout: time.Duration(s.pick(50, 5000)) * time.Millisecond, DiscardTimeout: time.Duration(s.pick(500, 30_000)) * time.Millisecond,
		Logger: zap.New(simLog{s}), Timings: high > 1000, // no draw of its own, which would change what the seeds play
	}
	if s.cfg.proxied = s.chance(300); s.cfg.proxied {
		cfg.TrustedProxies = []string{simNetConn{}.client().String()}
	}
	e, err := New(cfg, s.handler())
	if err != nil {
		panic(err)
	}
	s.e = e
	e.test.clock = func() time.Duration { return time.Duration(s.now) * time.Millisecond }
	e.test.tired = func() bool {
		enough := s.chance(s.cfg.tired) && !s.goOn
		s.goOn = false
		return enough
	}
	e.loops = nil                                              // these are simulated
	e.offload.max, e.dialer.pool.max, e.upgrades.max = 0, 0, 0 // all wait; see runJob and connect
	e.life.run()
	for range 1 + s.r.IntN(3) {
		l := &simLoop{s: s}
		l.Simulated = loop.Simulate(s, l, func(ll *loop.Loop) loop.Driver {
			w := newWorker(e, len(e.loops))
			w.env.Random = s.r.Uint64
			w.loop = ll
			return w
		})
		l.w = l.Driver().(*worker)
		l.w.begin()
		e.loops = append(e.loops, l.w)
		s.loops = append(s.loops, l)
	}
	e.main.lanes, e.dialer.lanes = e.newLanes(nil, mountedName), e.newLanes(nil, dialledName)
	s.newSessions()
	s.setUpDrain()
}

// simLog fails the simulation if the engine logs a panic that is none of ours.
type simLog struct{ s *sim }

func (simLog) Enabled(l zapcore.Level) bool        { return l >= zap.ErrorLevel }
func (l simLog) With([]zapcore.Field) zapcore.Core { return l }
func (simLog) Sync() error                         { return nil }
func (l simLog) Check(e zapcore.Entry, c *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if l.Enabled(e.Level) {
		return c.AddCore(e, l)
	}
	return c
}

func (l simLog) Write(e zapcore.Entry, fields []zapcore.Field) error {
	m := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(m)
	}
	if m.Fields["panic"] != errOnPurpose.Error() {
		l.s.failf("the engine logged %q %v", e.Message, m.Fields)
	}
	return nil
}

// simNetConn has the addresses of a connection.
type simNetConn struct{ net.Conn }

func (simNetConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024} }
func (c simNetConn) client() netip.Addr { return hostAddr(c.RemoteAddr()) }
func (simNetConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 80} }

// arrive accepts a connection, now and then with a head that was read before.
func (s *sim) arrive() {
	pass, why := s.e.gate.Enter(simNetConn{}.client(), s.now)
	if why != admit.Admitted {
		return
	}
	c := &simConn{s: s, id: len(s.conns), l: s.loops[s.r.IntN(len(s.loops))], sent: map[string]*simSend{}, closingAt: -1}
	c.peer = newPeer(c)
	c.sock = s.open(c, c.l)
	c.at = s.now
	m := new(arrival)
	if s.chance(s.cfg.tls) {
		m.tls = c.shake()
	}
	if s.chance(200) {
		c.head = 1 + s.r.IntN(len(c.peer.stream))
		m.mounted, m.head = true, slices.Clone(c.peer.stream[:c.head])
		c.peer.stream = c.peer.stream[c.head:]
	} else if s.cfg.proxied && s.chance(700) {
		c.client = netip.AddrFrom4([4]byte{198, 51, 100, byte(s.r.IntN(3))})
		if m.tls != nil { // the header was read before TLS
			_ = s.e.gate.Identify(&pass, c.client, s.now)
		} else {
			c.peer.stream = append(fmt.Appendf(nil, "PROXY TCP4 %v 192.0.2.2 1024 80\r\n", c.client), c.peer.stream...)
		}
	}
	if s.cfg.proxied && m.tls != nil && !m.mounted && s.chance(100) {
		c.forged, c.peer.honest = true, false
		c.peer.stream = append([]byte("PROXY TCP4 198.51.100.9 192.0.2.2 1024 80\r\n"), c.peer.stream...)
	}
	if m.tls != nil && len(c.peer.stream) > 0 && s.chance(300) { // what came behind the handshake
		c.early(m.tls)
	}
	c.c, _ = newConn(s.e.main, simNetConn{}, m)
	c.c.pass, _ = s.e.gate.Move(&pass)
	s.conns = append(s.conns, c)
	s.of[c.c] = c
	s.tracef("%v: arrives, descriptor %d", c, c.sock.fd)
	s.onLoop(c.l, func() { c.l.Opened(&c.c.sock, (*owner)(c.c), c.sock.fd) })
	if c.c.tls != nil {
		c.sock.unsealed(true)
	}
	s.e.gate.Arrived()
	s.check(c.l)
}

// handler is a program that does everything that programs do.
func (s *sim) handler() Handler {
	return Handler{
		OnUpgrade: func(u *Upgrade) error {
			if u.Request.Path == "/refuse" {
				return Refuse(403, "no")
			}
			if s.chance(300) {
				return s.of[u.c].decide(u)
			}
			return nil
		},
		OnOpen: func(cc *Conn) {
			c := s.called(cc, "OnOpen")
			if c.opens++; c.peer.honest && c.client.IsValid() && cc.ClientAddr() != c.client {
				s.failf("%v: the client is %v, the proxy named %v", c, cc.ClientAddr(), c.client)
			}
			if c.forged {
				s.failf("%v: takes a PROXY header from inside TLS", c)
			}
			if c.d != nil {
				c.d.opened(c)
			}
			if s.chance(700) {
				c.join(0)
			}
			if s.chance(300) {
				c.session()
			}
			if s.chance(100) {
				c.act()
			}
		},
		OnMessage: s.onMessage,
		OnClose:   s.onClose,
		OnPing: func(cc *Conn, b []byte) {
			c := s.called(cc, "OnPing")
			if p := c.peer; p.honest {
				if p.pinged == len(p.pings) || p.pings[p.pinged] != string(b) {
					s.failf("%v: ping %d is %q", c, p.pinged, b)
				}
				p.pinged++
			}
		},
		OnPong: func(cc *Conn, b []byte) {
			c := s.called(cc, "OnPong")
			if p := c.peer; p.honest {
				if p.heard == len(p.pongs) || p.pongs[p.heard] != string(b) {
					s.failf("%v: pong %d is %q", c, p.heard, b)
				}
				p.heard++
			}
		},
		OnBackpressure: func(cc *Conn) { s.onBacklog(cc, true) },
		OnDrain:        func(cc *Conn) { s.onBacklog(cc, false) },
	}
}

// called checks what must hold of every callback.
func (s *sim) called(cc *Conn, callback string) *simConn {
	c := s.of[cc]
	s.tracef("%v: %s", c, callback)
	switch {
	case !c.l.on && !s.stopped:
		s.failf("%v: %s runs elsewhere than on its loop", c, callback)
	case s.calling > 0:
		s.failf("%v: %s runs inside a call of the program's", c, callback)
	case c.closes > 0:
		s.failf("%v: %s after OnClose", c, callback)
	case (c.aborted || c.closedNow) && callback != "OnClose":
		s.failf("%v: %s after Abort or CloseNow", c, callback)
	case callback != "OnClose" && cc.tls != nil && cc.tls.rest != nil && !cc.flow.congested:
		s.failf("%v: %s, and ciphertext waits without congestion", c, callback)
	case c.deciding:
		s.failf("%v: %s before the handshake was decided", c, callback)
	case callback == "OnOpen" && c.opens > 0 || callback != "OnOpen" && c.opens == 0:
		s.failf("%v: %s, and OnOpen ran %d times", c, callback, c.opens)
	}
	return c
}

func (s *sim) onMessage(cc *Conn, m Message) {
	c := s.called(cc, "OnMessage")
	c.messages++
	if p := c.peer; p.honest {
		if p.seen == len(p.sent) || p.sent[p.seen] != (simMessage{op: protocol.Opcode(m.Type), data: string(m.Data)}) {
			s.failf("%v: message %d is %v %.60q", c, p.seen, m.Type, m.Data)
			return
		}
		p.seen++
	}
	if (c.ordered > 0 || c.active || c.l.w.drains.begun) && !s.cfg.noPause {
		s.failf("%v: a message while a function of Go runs, or in a shutdown", c)
	}
	if c.resuming && !s.cfg.noPause {
		s.failf("%v: a message before the state", c)
	}
	if s.chance(100) {
		c.session()
	}
	switch n := s.r.IntN(100); {
	case n < 50:
		c.send(m.Data)
	case n < 53:
		c.offload(m)
	case n < 90:
		c.act()
	}
	if s.chance(5) {
		panic(errOnPurpose)
	}
}

func (s *sim) onBacklog(cc *Conn, above bool) {
	c := s.called(cc, map[bool]string{true: "OnBackpressure", false: "OnDrain"}[above])
	if c.above == above {
		s.failf("%v: the same side of the watermarks again", c)
	}
	if c.above = above; s.chance(200) {
		c.act()
	}
}

// offload calls Go, on the loop or elsewhere; meanwhile other things happen.
func (c *simConn) offload(m Message) {
	s := c.s
	want, number := string(m.Data), c.accepted
	open, afterClose := c.c.end.phase.Load() == phaseOpen, c.telling
	ordered := open && c.here() == 1
	err := c.c.Go(m, func(ctx context.Context, m Message) {
		if c.active || c.telling || c.closes > 0 && !afterClose || c.returned != number {
			s.failf("%v: function %d of Go after %d, beside another or OnClose, or after it", c, number, c.returned)
		}
		c.active = true
		defer func() {
			c.active = false
			c.returned++
			if ordered {
				c.ordered--
			}
			if c.closes > 0 && c.returned == c.accepted {
				c.leaveState()
			}
		}()
		for range s.r.IntN(4) {
			switch {
			case !s.calm:
				s.step()
			case !s.stopped: // nobody else comes
				s.poll(s.loops[s.r.IntN(len(s.loops))])
			}
		}
		hung := c.sock.closed || c.sock.hung
		e := c.c.ending()
		switch {
		case string(m.Data) != want:
			s.failf("%v: the message of Go changed", c)
		case hung && c.c.Context().Err() == nil:
			s.failf("%v: the context of the connection outlives it", c)
		case (ctx.Err() != nil) != s.stopped:
			s.failf("%v: the context of Go has ended: %v", c, ctx.Err())
		case open && e.leaving != nil && e.leaving == e.closing:
			s.failf("%v: is sent away before a function of Go has returned", c)
		}
		if !s.stopped {
			c.act()
		}
		if s.chance(50) {
			panic(errOnPurpose)
		}
	})
	s.tracef("%v: the program calls Go, function %d: %v", c, number, err)
	switch {
	case err == nil && (c.closes == 0 || c.telling) && !s.stopped:
		if c.accepted++; ordered {
			c.ordered++
		}
	case errors.Is(err, ErrStopped) && s.stopped:
	case errors.Is(err, ErrClosed) && c.closes > 0 && !c.telling:
	default:
		s.failf("%v: Go says %v", c, err)
	}
}

// decide leaves the handshake to a function; meanwhile other things happen, to
// this connection too.
func (c *simConn) decide(u *Upgrade) error {
	s := c.s
	c.deciding = true
	asked := u.Request
	want := fmt.Sprintf("%+v", asked)
	return u.Go(func(ctx context.Context) error {
		defer func() { c.deciding = false }()
		for range s.r.IntN(6) {
			s.step()
		}
		s.tracef("%v: the function of Upgrade.Go returns", c)
		if got := fmt.Sprintf("%+v", asked); got != want || u.Request != asked {
			s.failf("%v: the request of Upgrade.Go changed from %s to %s", c, want, got)
		}
		if over := c.sock.closed || c.sock.hung || c.c.end.phase.Load() != phaseOpening; over != (ctx.Err() != nil) {
			s.failf("%v: the handshake is over: %v, its context says %v", c, over, ctx.Err())
		}
		if c.opens > 0 {
			s.failf("%v: opened before it was decided", c)
		}
		switch s.r.IntN(10) {
		case 0:
			return Refuse(401, "no")
		case 1:
			panic(errOnPurpose)
		}
		u.State = c
		u.Header = []protocol.Field{{Name: "X-Decided", Value: "yes"}}
		return nil
	})
}

func (s *sim) onClose(cc *Conn, e *CloseError) {
	c := s.called(cc, "OnClose")
	c.closes++
	c.telling, c.told = true, e
	defer func() { c.telling = false }()
	s.tracef("%v: %v", c, e)
	switch {
	case c.returned != c.accepted:
		s.failf("%v: OnClose after %d functions of Go, of %d", c, c.returned, c.accepted)
	case c.aborted && !errors.Is(e, ErrAborted):
		s.failf("%v: aborted, but OnClose is told %v", c, e)
	case cc.Context().Err() == nil:
		s.failf("%v: the context lives on in OnClose", c)
	case !errors.Is(cc.SendText("x"), ErrClosed):
		s.failf("%v: Send in OnClose", c)
	}
	if cc.tls != nil {
		c.checkSealedError(e)
	}
	for range s.pick(0, 0, 0, 1, 2) {
		c.offload(Message{})
	}
	if s.chance(200) {
		c.endSession()
	}
	if c.returned == c.accepted {
		c.leaveState()
	}
}
