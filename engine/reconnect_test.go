package engine

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// long is a backoff that no test lives to see the end of.
const long = time.Hour

// TestReconnect: after each kind of loss comes another connection, with the
// same state on the same loop, until the server closes normally.
func TestReconnect(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		var visits atomic.Int32
		s := serve(t, Config{Loops: n, MessageBytesMax: 100}, Handler{
			OnUpgrade: func(u *Upgrade) error {
				u.State = visits.Add(1)
				if u.State == int32(1) {
					return Refuse(503, "not yet")
				}
				return nil
			},
			OnOpen: func(c *Conn) {
				switch c.State() {
				case int32(2):
					_ = c.Close(protocol.CloseServiceRestart, "")
				case int32(4):
					_ = c.Close(protocol.CloseGoingAway, "")
				case int32(7):
					_ = c.Close(protocol.CloseNormal, "")
				}
			},
			OnMessage: func(c *Conn, m Message) { c.cut(nil) },
		})
		p := pure(t, Config{Loops: n}, Handler{})
		var mu sync.Mutex
		var told []string
		tell := func(format string, a ...any) {
			mu.Lock()
			defer mu.Unlock()
			told = append(told, fmt.Sprintf(format, a...))
		}
		var home *worker
		ids := map[uint64]bool{}
		p.mustDial(Dial{
			URL: s.url("/"), State: "kept", Reconnect: true, BackoffMin: time.Millisecond, BackoffMax: 3 * time.Millisecond,
			OnFailure: func(e *DialError) {
				var refused *codec.HandshakeError
				tell("failure %d %v %v", e.Attempt, errors.As(e, &refused) && refused.Status == 503, e.Retry >= time.Millisecond && e.Retry <= 3*time.Millisecond)
			},
			Handler: &Handler{
				OnOpen: func(c *Conn) {
					if home == nil {
						home = c.w
					}
					if ids[c.ID()] || c.State() != "kept" || c.w != home || p.Stats().Connections != 1 {
						t.Errorf("connection %d, state %v, %d counted", c.ID(), c.State(), p.Stats().Connections)
					}
					ids[c.ID()] = true
					c.SetState(nil)
					tell("open")
					switch len(ids) {
					case 2:
						_ = c.SendText("cut me")
					case 4:
						_ = c.SendBinary(make([]byte, 101))
					case 5:
						panic("on purpose")
					}
				},
				OnClose: func(_ *Conn, e *CloseError) { tell("close %d %v", e.Code, e.Remote) },
			},
		})
		p.await("the end", func() bool { return p.Stats().Connections == 0 })
		want := []string{
			"failure 1 true true",
			"open", "close 1012 true", "open", "close 1006 true", "open", "close 1001 true",
			"open", "close 1009 true", "open", "close 1011 false", "open", "close 1000 true",
		}
		if !slices.Equal(told, want) {
			t.Errorf("told %v\nwant %v", told, want)
		}
		if err := p.end(); err != nil {
			t.Error(err)
		}
		p.balanced()
	})
}

// TestReconnectStops: what ends the reconnecting, whatever it is doing.
func TestReconnectStops(t *testing.T) {
	s := serve(t, Config{}, Handler{OnMessage: func(c *Conn, m Message) { _ = c.Close(protocol.CloseServiceRestart, "") }})
	silent := answering(t, reply(""))
	for _, c := range []struct {
		name, url string
		when      string // it ends
		end       func(c *Conn, cancel func())
		failures  int32
	}{
		{"Close on its loop", s.url("/"), "open", func(c *Conn, _ func()) { _ = c.Close(protocol.CloseNormal, "") }, 0},
		{"Close elsewhere", s.url("/"), "open", func(c *Conn, _ func()) { go func() { _ = c.Close(4000, "") }() }, 0},
		{"Close when it is lost", s.url("/"), "close", func(c *Conn, _ func()) {
			if err := c.Close(4000, ""); !errors.Is(err, ErrClosed) {
				t.Errorf("Close: %v", err)
			}
		}, 0},
		{"Close while it waits", s.url("/"), "waiting", func(c *Conn, _ func()) { _ = c.Close(4000, "") }, 0},
		{"the context, when it is lost", s.url("/"), "close", func(_ *Conn, cancel func()) { cancel() }, 0},
		{"the context, while it waits", s.url("/"), "waiting", func(_ *Conn, cancel func()) { cancel() }, 0},
		{"the context, in the handshake", silent, "handshake", func(_ *Conn, cancel func()) { cancel() }, 1},
		{"the context, in OnFailure", "ws://127.0.0.1:1", "failure", func(_ *Conn, cancel func()) { cancel() }, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pure(t, Config{Loops: 1}, Handler{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var last atomic.Pointer[Conn]
			var failures atomic.Int32
			d := Dial{
				URL: c.url, Reconnect: true, BackoffMin: long, BackoffMax: long,
				OnFailure: func(e *DialError) {
					failures.Add(1)
					if c.when == "failure" {
						c.end(nil, cancel)
					} else if !errors.Is(e, context.Canceled) || e.Retry != 0 {
						t.Errorf("OnFailure: %v", e)
					}
				},
				Handler: &Handler{
					OnOpen: func(cc *Conn) {
						last.Store(cc)
						if c.when == "open" {
							c.end(cc, cancel)
						} else {
							_ = cc.SendText("close me")
						}
					},
					OnClose: func(cc *Conn, _ *CloseError) {
						if c.when == "close" {
							c.end(cc, cancel)
						}
					},
				},
			}
			if err := p.Dial(ctx, d); err != nil {
				t.Fatal(err)
			}
			switch c.when {
			case "waiting":
				p.await("it to wait", func() bool { return p.waiting() == 1 })
				c.end(last.Load(), cancel)
			case "handshake":
				p.await("the handshake", func() bool { return p.Stats().BytesOut > 0 })
				c.end(nil, cancel)
			}
			p.await("it to be over", func() bool { return p.Stats().Connections == 0 })
			if failures.Load() != c.failures {
				t.Errorf("%d failures, want %d", failures.Load(), c.failures)
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
			p.balanced()
		})
	}
}

// waiting is how many dialings wait for their next attempt.
func (s *server) waiting() (n int) {
	for _, w := range s.running() {
		told := make(chan int, 1)
		if w.post(post{do: func() { told <- len(w.waiting) }}) == nil {
			n += one(s.t, told, "a loop")
		}
	}
	return n
}

// TestContextLeavesOpenConnectionsAlone: what is open stays so.
func TestContextLeavesOpenConnectionsAlone(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: echo})
	for _, again := range []bool{false, true} {
		ctx, cancel := context.WithCancel(t.Context())
		conns, got := make(chan *Conn, 1), make(chan string, 1)
		err := s.Dial(ctx, Dial{URL: s.url("/"), Reconnect: again, Handler: &Handler{
			OnOpen:    func(c *Conn) { conns <- c },
			OnMessage: func(_ *Conn, m Message) { got <- m.Text() },
		}})
		if err != nil {
			t.Fatal(err)
		}
		c := one(t, conns, "OnOpen")
		cancel()
		_ = c.SendText("still here")
		if m := one(t, got, "the echo"); m != "still here" {
			t.Errorf("received %q", m)
		}
	}
}

// unanswered is the URL of a listener whose queue is full: TCP keeps asking.
func unanswered(t *testing.T) (url string) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(fd) })
	err = errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), syscall.Listen(fd, 0))
	if err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := fmt.Sprintf("127.0.0.1:%d", sa.(*syscall.SockaddrInet4).Port)
	for { // until it is full
		nc, err := net.DialTimeout("tcp", addr, 100*time.Millisecond)
		if err != nil {
			return "ws://" + addr
		}
		t.Cleanup(func() { _ = nc.Close() })
	}
}

// TestShutdownEndsDialing, whatever it is doing, at once.
func TestShutdownEndsDialing(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	deaf := unanswered(t)
	silent := answering(t, reply(""))
	for what, d := range map[string]Dial{
		"connecting": {URL: deaf},
		"queued":     {URL: deaf},
		"handshake":  {URL: silent},
		"open":       {URL: s.url("/")},
		"waiting":    {URL: "ws://127.0.0.1:1"},
	} {
		t.Run(what, func(t *testing.T) {
			p := pure(t, Config{Loops: 1, DialsMax: 1, DrainTimeout: patience}, Handler{})
			closed := make(chan *CloseError, 1)
			var ends atomic.Int32
			d.Reconnect, d.BackoffMin, d.Timeout = true, long, long
			d.OnFailure = func(e *DialError) {
				if e.Retry == 0 && !errors.Is(e, ErrStopped) {
					t.Errorf("the end is %v", e)
				}
				ends.Add(1)
			}
			d.Handler = &Handler{OnClose: func(_ *Conn, e *CloseError) { closed <- e }}
			n := 1
			if what == "queued" {
				n = 10
			}
			for range n {
				p.mustDial(d)
			}
			switch what {
			case "handshake":
				p.await("the handshake", func() bool { return p.Stats().BytesOut > 0 })
			case "open":
				p.await("it to be open", func() bool { return p.Stats().Open == 1 })
			case "waiting":
				p.await("it to wait", func() bool { return p.waiting() == 1 })
			}
			if err := p.end(); err != nil {
				t.Error(err)
			}
			if what == "open" {
				if e := <-closed; e.Code != protocol.CloseGoingAway || e.Remote || !strings.Contains(e.Reason, "client") {
					t.Errorf("OnClose: %v", e)
				}
			} else if int(ends.Load()) != n {
				t.Errorf("%d failures of %d", ends.Load(), n)
			}
			if st := p.Stats(); st.Connections != 0 {
				t.Errorf("stats %+v", st)
			}
			p.balanced()
		})
	}
}

// TestDialBeforeRun: the attempt is made when the loops run.
func TestDialBeforeRun(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	opened := make(chan *Conn, 1)
	e, err := New(Config{}, Handler{OnOpen: func(c *Conn) { opened <- c }})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Dial(t.Context(), Dial{URL: s.url("/")}); err != nil {
		t.Fatal(err)
	}
	run(t, e)
	one(t, opened, "OnOpen")
}

// TestShutdownWithoutRunEndsDialing: each Dial is told so before Shutdown
// returns, one at a time, and gives its place back. OnFailure may panic, and
// call Shutdown.
func TestShutdownWithoutRunEndsDialing(t *testing.T) {
	e, err := New(Config{Loops: 2, Logger: zap.NewNop()}, Handler{OnOpen: func(*Conn) { t.Error("OnOpen") }})
	if err != nil {
		t.Fatal(err)
	}
	told := 0 // without a lock: on this goroutine
	d := Dial{URL: "ws://127.0.0.1:1", Reconnect: true, OnFailure: func(f *DialError) {
		if !errors.Is(f, ErrStopped) || f.Retry != 0 || f.Attempt != 1 {
			t.Errorf("told %+v", f)
		}
		if err := e.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown in OnFailure: %v", err)
		}
		if told++; told == 1 {
			panic("on purpose")
		}
	}}
	for _, on := range []*Loop{nil, nil, e.Loops()[1]} {
		d.Loop = on
		if err := e.Dial(t.Context(), d); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if st := e.Stats(); told != 3 || st.Connections != 0 || st.DialFailed != 3 {
		t.Errorf("%d were told of 3; %+v", told, st)
	}
	if err := e.Dial(t.Context(), d); !errors.Is(err, ErrStopped) {
		t.Errorf("Dial after that: %v", err)
	}
}

// TestDialCounts: a dialled connection takes a place from the call on, and
// keeps it while it is being made again; it is not one of its address, nor half
// open.
func TestDialCounts(t *testing.T) {
	s := serve(t, Config{}, Handler{})
	p := pure(t, Config{ConnectionsMax: 3, HalfOpenMax: 1, ConnectionsPerAddressMax: 1, AcceptsPerAddressPerSecond: 1}, Handler{})
	p.mustDial(Dial{URL: s.url("/")})
	p.mustDial(Dial{URL: "ws://127.0.0.1:1", Reconnect: true, BackoffMin: long})
	p.mustDial(Dial{URL: answering(t, reply(""))})
	if err := p.Dial(t.Context(), Dial{URL: s.url("/")}); !errors.Is(err, errFull) {
		t.Errorf("a fourth of three: %v", err)
	}
	p.await("one to be open, one to wait, one in its handshake", func() bool {
		st := p.Stats()
		return st.Open == 1 && st.Dialled == 2 && p.waiting() == 1
	})
	if n := p.gate.Counts().Half; n != 0 {
		t.Errorf("%d half open", n)
	}
	if err := p.Dial(t.Context(), Dial{URL: s.url("/")}); !errors.Is(err, errFull) {
		t.Errorf("a fourth of three, later: %v", err)
	}
}

// TestBackoff: the waits double up to the bound, begin anew after a connection
// that lasted, and are drawn from all of their range.
func TestBackoff(t *testing.T) {
	const lo, hi = 100 * time.Millisecond, 1000 * time.Millisecond
	d := &dialing{Dial: Dial{BackoffMin: lo, BackoffMax: hi}, w: newWorker(&Engine{set: &settings{}}, 0)}
	for attempt, bound := range []time.Duration{2 * lo, 2 * lo, 4 * lo, 8 * lo, hi, hi, hi} {
		least, greatest, drawn := long, time.Duration(0), map[time.Duration]bool{}
		d.attempt = attempt
		for range 1000 {
			b := d.backoff()
			least, greatest, drawn[b] = min(least, b), max(greatest, b), true
		}
		tenth := (bound - lo) / 10
		if least < lo || least > lo+tenth || greatest > bound || greatest < bound-tenth || len(drawn) < 900 {
			t.Errorf("attempt %d: %d values from %v to %v, want %v to %v", attempt, len(drawn), least, greatest, lo, bound)
		}
	}
	d.attempt, d.BackoffMax = 1<<30, time.Duration(day)
	d.BackoffMin = d.BackoffMax
	if b := d.backoff(); b != d.BackoffMax {
		t.Errorf("a range of one: %v", b)
	}
}

// TestReconnectOverTime plays the time and the network: each wait is what
// OnFailure was told, and only a connection that lasted lets them begin anew.
func TestReconnectOverTime(t *testing.T) {
	e, err := New(Config{Loops: 1}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer e.life.endServing()
	var now int64
	e.test.clock = func() time.Duration { return time.Duration(now) * time.Millisecond }
	e.dialer.pool.max = 0 // whoever submits waits
	e.life.run()
	w := newWorker(e, 0)
	e.loops = []*worker{w}
	var told *DialError
	d := &dialing{e: e, w: w, ctx: context.Background(), target: &target{}, attempt: 1, Dial: Dial{
		Reconnect: true, BackoffMin: time.Second, BackoffMax: 8 * time.Second, OnFailure: func(e *DialError) { told = e },
	}}
	d.timer.Owner = d
	d.pass, _ = e.gate.Reserve()
	e.life.mu.Lock()
	d.begin()
	e.life.mu.Unlock()
	tries := func(want int) {
		t.Helper()
		if got := len(e.dialer.pool.waiting); got != want {
			t.Fatalf("%d attempts, want %d", got, want)
		}
		for range e.dialer.pool.waiting {
			e.gate.Arrived()
		}
		e.dialer.pool.waiting = nil
	}
	tries(1)
	for attempt := 1; attempt <= 5; attempt++ {
		began := now
		d.failed(errOnPurpose)
		if told.Attempt != attempt || !errors.Is(told, errOnPurpose) {
			t.Fatalf("told %v, want attempt %d", told, attempt)
		}
		for now < began+told.Retry.Milliseconds() {
			w.time.wheel.Advance(now, nil)
			tries(0)
			now++
		}
		for range 2 { // the wait is rounded up to a millisecond
			w.time.wheel.Advance(now, nil)
			now++
		}
		tries(1)
	}
	for _, lasted := range []time.Duration{7999 * time.Millisecond, 8 * time.Second} {
		before := d.attempt
		c := &Conn{ep: e.main, w: w, h: e.main.handler, dial: d}
		d.failure = nil
		d.succeeded(c)
		now += lasted.Milliseconds()
		d.lost()
		if _, ok := w.time.wheel.Next(); !ok || !d.waiting {
			t.Fatal("no attempt is to follow")
		}
		for d.waiting {
			now++
			w.time.wheel.Advance(now, nil)
		}
		tries(1)
		want := before + 1
		if lasted >= 8*time.Second {
			want = 1
		}
		if d.attempt != want {
			t.Errorf("after a connection that lasted %v: attempt %d, want %d", lasted, d.attempt, want)
		}
	}
	if n := e.gate.Counts().Inside; n != 1 || w.time.wheel.Len() != 0 {
		t.Errorf("%d places, %d timers", n, w.time.wheel.Len())
	}
}
