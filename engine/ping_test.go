package engine

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// pingedConn is one peer on a server whose time passes in steps, with the times at
// which the server pinged it.
type pingedConn struct {
	*server
	*client
	conn  *Conn
	pongs chan struct{}
	pings []time.Duration
	sent  uint64
}

func newPinged(t *testing.T, cfg Config) *pingedConn {
	conns, x := make(chan *Conn, 1), &pingedConn{pongs: make(chan struct{}, 1)}
	cfg.Loops, cfg.CloseTimeout = 1, patience
	x.server = serveAt(t, new(testClock), cfg, Handler{
		OnOpen:    func(c *Conn) { conns <- c },
		OnMessage: func(*Conn, Message) { x.pongs <- struct{}{} },
		OnPong:    func(*Conn, []byte) { x.pongs <- struct{}{} },
	})
	x.client = x.dial("/", nil)
	x.conn = one(t, conns, "OnOpen")
	x.await("the end of the turn", func() bool { return !x.conn.w.inTurn() })
	x.sent = x.conn.Stats().BytesOut
	return x
}

// step lets time pass, and the peer answer a ping. It reports whether the
// connection is still there.
func (x *pingedConn) step(d time.Duration, answers bool) bool {
	x.pass(d - time.Millisecond)
	x.pass(time.Millisecond) // a second look comes a millisecond after the first
	x.await("the end of the turn", func() bool { return !x.conn.w.inTurn() })
	if x.Stats().Connections == 0 {
		return false
	}
	if out := x.conn.Stats().BytesOut; out > x.sent {
		x.sent = out
		x.pings = append(x.pings, x.clock.read())
		if answers {
			if ev, err := x.next(); err != nil || ev.Kind != codec.Ping {
				x.server.t.Fatalf("instead of a ping: %v %v", ev.Kind, err)
			}
			x.heard()
		}
	}
	return true
}

// heard waits until the server has read what the peer sent.
func (x *pingedConn) heard() { one(x.server.t, x.pongs, "what the peer sent") }

func every(period, until time.Duration) (times []time.Duration) {
	for at := period; at <= until; at += period {
		times = append(times, at)
	}
	return times
}

// TestPingPeriod: a peer that only answers pings is pinged every PingInterval,
// whatever PongTimeout is, and no proxy that cuts after 60 s of silence sees
// that by default.
func TestPingPeriod(t *testing.T) {
	for _, timeout := range []time.Duration{0, time.Second, 12500 * time.Millisecond, 13 * time.Second, 40 * time.Second, NoLimit} {
		t.Run(fmt.Sprint(timeout), func(t *testing.T) {
			x := newPinged(t, Config{PongTimeout: timeout})
			for range 400 {
				if !x.step(500*time.Millisecond, true) {
					t.Fatal("cut")
				}
			}
			if want := every(25*time.Second, 200*time.Second); !slices.Equal(x.pings, want) {
				t.Errorf("pings at %v, want %v", x.pings, want)
			}
		})
	}
}

// TestPingUntilTheCut: a peer that does not answer is pinged at the same
// period, and cut PongTimeout after the first ping.
func TestPingUntilTheCut(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 20 * time.Second, 25 * time.Second, 60 * time.Second} {
		t.Run(fmt.Sprint(timeout), func(t *testing.T) {
			x := newPinged(t, Config{PongTimeout: timeout})
			for x.step(500*time.Millisecond, false) {
			}
			cut := 25*time.Second + timeout
			if at := x.clock.read(); at < cut || at > cut+500*time.Millisecond {
				t.Errorf("cut at %v, want %v", at, cut)
			}
			if want := every(25*time.Second, cut-time.Second); !slices.Equal(x.pings, want) {
				t.Errorf("pings at %v, want %v", x.pings, want)
			}
		})
	}
}

// TestPingAfterSilence: whenever a peer falls silent, the ping comes within
// PingInterval, and not before half of it.
func TestPingAfterSilence(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 20 * time.Second, 60 * time.Second} {
		for period := 7 * time.Second; period < 60*time.Second; period += 9 * time.Second {
			x := newPinged(t, Config{PongTimeout: timeout})
			for talked := time.Duration(0); x.clock.read() < 200*time.Second; {
				n := len(x.pings)
				x.step(500*time.Millisecond, true)
				now, last := x.clock.read(), talked
				if n > 0 {
					last = max(last, x.pings[n-1])
				}
				if silent := now - last; silent > 25*time.Second || len(x.pings) > n && silent < 12*time.Second {
					t.Fatalf("it talks every %v, PongTimeout %v: at %v after %v of silence: pings at %v", period, timeout, now, silent, x.pings)
				}
				if now%period == 0 {
					x.send(protocol.OpText, "x")
					x.heard()
					talked = now
				}
			}
		}
	}
}

// TestPingWhileReadingIsPaused: the pings go on, for the proxies on the way, and
// nobody is cut.
func TestPingWhileReadingIsPaused(t *testing.T) {
	for _, timeout := range []time.Duration{time.Second, 20 * time.Second, 60 * time.Second} {
		x := newPinged(t, Config{PongTimeout: timeout})
		x.onLoop(x.conn, func() { _ = x.conn.PauseReading() })
		for range 400 {
			if !x.step(500*time.Millisecond, false) {
				t.Fatal("cut")
			}
		}
		if want := every(25*time.Second, 200*time.Second); !slices.Equal(x.pings, want) {
			t.Errorf("PongTimeout %v: pings at %v, want %v", timeout, x.pings, want)
		}
		x.onLoop(x.conn, func() { _ = x.conn.ResumeReading() })
		if !x.step(20*time.Second, false) {
			t.Fatal("cut, though its time begins anew")
		}
		for x.step(500*time.Millisecond, false) {
		}
	}
}
