package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// TestResumeAfterALoss: the state comes along, before the message behind the
// token, again and again, on another loop too.
func TestResumeAfterALoss(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		a := newArcade(t, engine.Config{Loops: n}, Config{})
		c, token := a.sit("ada")
		c.want("move", "1 moves")
		moves := 1
		for range 3 {
			next := a.elsewhere(c)
			a.lose(c)
			next.env.Out, _ = next.session.Encode(&next.env, nil, protocol.OpText, []byte("resume "+token), false)
			next.env.Out, _ = next.session.Encode(&next.env, next.env.Out, protocol.OpText, []byte("move"), false)
			next.flush() // in one segment
			next.expect(fmt.Sprintf("resumed ada, %d moves", moves+1))
			next.expect(fmt.Sprintf("%d moves", moves+2))
			next.want("resume "+token, "error: session: the connection has a session: End it first")
			next.want("begin x", "error: session: the connection has a session: End it first")
			c, moves = next, moves+2
		}
		if n := a.sessions.Len(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// TestNewestConnectionWins: the old one, still there, is closed with 1008; its
// OnClose comes first.
func TestNewestConnectionWins(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		a := newArcade(t, engine.Config{Loops: n}, Config{})
		c, token := a.sit("ada")
		for i := range 5 {
			next := a.elsewhere(c)
			next.want("resume "+token, fmt.Sprintf("resumed ada, %d moves", i+1))
			if e := one(t, a.closed, "OnClose"); e.Code != protocol.ClosePolicyViolation || !errors.Is(e, ErrResumed) || e.Remote {
				t.Errorf("OnClose of the old one: %v", e)
			}
			if e := c.closed(); e.Code != protocol.ClosePolicyViolation || !strings.Contains(e.Reason, "resumed this session") {
				t.Errorf("the old one is closed with %v", e)
			}
			c = next
		}
		a.clock.pass(time.Hour)
		if n := a.sessions.Len(); n != 1 {
			t.Errorf("%d sessions", n)
		}
	})
}

// TestResumeWaitsForGo: the state is in the hands of a function of the old
// connection until it returns. Of those that want it meanwhile the last gets it.
func TestResumeWaitsForGo(t *testing.T) {
	for _, end := range []string{"", "the heir drops", "the heir ends it"} {
		t.Run(end, func(t *testing.T) {
			loops(t, func(t *testing.T, n int) {
				a := newArcade(t, engine.Config{Loops: n}, Config{})
				c, token := a.sit("ada")
				other := a.elsewhere(c)
				c.want("go", "gone")
				early := a.dial()
				early.send(protocol.OpText, "resume "+token)
				if e := c.closed(); e.Code != protocol.ClosePolicyViolation {
					t.Errorf("the old one is closed with %v", e)
				}
				other.env.Out, _ = other.session.Encode(&other.env, nil, protocol.OpText, []byte("resume "+token), false)
				other.env.Out, _ = other.session.Encode(&other.env, other.env.Out, protocol.OpText, []byte("token"), false)
				other.flush()
				if e := early.closed(); e.Code != protocol.ClosePolicyViolation {
					t.Errorf("the one between is closed with %v", e)
				}
				_ = one(t, a.closed, "OnClose of the one between")
				switch end {
				case "":
					close(a.release)
					other.expect("resumed ada, 1 moves")
					if _, got := other.receive(); len(got) < 80 {
						t.Errorf("token: %q", got)
					}
				case "the heir drops":
					a.lose1(other)
					var old *engine.Conn
					a.await("the heir's loss", func() bool {
						a.sessions.mu.Lock()
						defer a.sessions.mu.Unlock()
						for old = range a.sessions.byConn {
						}
						return len(a.sessions.byConn) == 1
					})
					if err := a.sessions.End(old); !errors.Is(err, ErrNone) {
						t.Errorf("the old one ends what another has resumed: %v", err)
					}
					close(a.release)
					_ = one(t, a.closed, "OnClose of the old one")
					a.await("the loss", func() bool { return a.waiting() == 1 })
					a.clock.pass(30 * time.Second)
					if got := one(t, a.expired, "OnExpire"); got != "ada" {
						t.Errorf("%q expired", got)
					}
				case "the heir ends it":
					var heir *engine.Conn
					a.sessions.mu.Lock()
					for _, x := range a.sessions.byID {
						heir = x.heir
					}
					a.sessions.mu.Unlock()
					if err := a.sessions.End(heir); err != nil {
						t.Error(err)
					}
					other.expect("error: session: the connection has no session")
					close(a.release)
					_ = one(t, a.closed, "OnClose of the old one")
				}
				if n := a.sessions.Len(); end == "" != (n == 1) {
					t.Errorf("%d sessions", n)
				}
			})
		})
	}
}

// TestGrace: the state waits so long and no longer, and the time begins anew
// with each loss.
func TestGrace(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		a := newArcade(t, engine.Config{Loops: n, PingInterval: engine.NoLimit}, Config{Grace: 10 * time.Second})
		c, token := a.sit("ada")
		for i := range 3 {
			a.lose(c)
			a.clock.pass(10*time.Second - time.Millisecond)
			next := a.dial()
			next.want("resume "+token, fmt.Sprintf("resumed ada, %d moves", i+1))
			a.clock.pass(time.Minute)
			c = next
		}
		a.lose(c)
		a.clock.pass(9 * time.Second)
		c = a.dial()
		c.want("resume "+token, "resumed ada, 4 moves")
		a.lose(c)
		a.clock.pass(time.Second) // the timer of the loss before rings
		if len(a.expired) != 0 || a.sessions.Len() != 1 {
			t.Fatal("expired")
		}
		a.clock.pass(9*time.Second - time.Millisecond)
		if len(a.expired) != 0 {
			t.Fatal("expired too early")
		}
		c = a.dial()
		c.want("resume "+token, "resumed ada, 5 moves")
		a.lose(c)
		a.clock.pass(10 * time.Second)
		if got := one(t, a.expired, "OnExpire"); got != "ada" {
			t.Errorf("%q expired", got)
		}
		a.dial().want("resume "+token, "error: session: the session is over")
		if a.sessions.Len() != 0 || len(a.expired) != 0 {
			t.Errorf("%d sessions, %d more expired", a.sessions.Len(), len(a.expired))
		}
	})
}

// TestEndOfASession: nothing waits, nothing expires; c goes on and may begin
// another.
func TestEndOfASession(t *testing.T) {
	a := newArcade(t, engine.Config{Loops: 1}, Config{})
	c, token := a.sit("ada")
	c.want("end", "ended")
	c.want("end", "error: session: the connection has no session")
	c.want("token", "error: session: the connection has no session")
	a.dial().want("resume "+token, "error: session: the session is over")
	second := c.ask("begin grace")
	if second == token || len(second) != len(token) {
		t.Errorf("the second token is %q", second)
	}
	c.close(protocol.CloseNormal, "bye") // and OnClose calls End
	_ = c.closed()
	_ = one(t, a.closed, "OnClose")
	a.clock.pass(time.Hour)
	if len(a.expired) != 0 || a.sessions.Len() != 0 {
		t.Errorf("%d expired, %d sessions", len(a.expired), a.sessions.Len())
	}

	c, token = a.sit("edith")
	a.lose(c)
	c = a.dial()
	c.want("drop "+token, "ended") // before it was given the state
	c.want("token", "error: session: the connection has no session")
	if a.sessions.Len() != 0 {
		t.Errorf("%d sessions", a.sessions.Len())
	}
}

// TestSessionsAtTheEndOfTheEngine: each state expires once, before Run returns;
// that of a function that outlasts it, after it.
func TestSessionsAtTheEndOfTheEngine(t *testing.T) {
	a := newArcade(t, engine.Config{Loops: 2, CloseTimeout: time.Millisecond, DrainTimeout: 10 * time.Millisecond}, Config{})
	waits, _ := a.sit("waits")
	a.lose(waits)
	_, _ = a.sit("is there")
	left, token := a.sit("left")
	left.want("end", "ended")
	busy, _ := a.sit("busy")
	busy.want("go", "gone")
	var cut *engine.CutError
	if err := a.end(); !errors.As(err, &cut) {
		t.Errorf("Run says %v", err)
	}
	if got := map[string]bool{one(t, a.expired, "OnExpire"): true, one(t, a.expired, "OnExpire"): true}; !got["waits"] || !got["is there"] || len(a.expired) != 0 {
		t.Errorf("expired: %v", got)
	}
	close(a.release)
	if got := one(t, a.expired, "OnExpire"); got != "busy" {
		t.Errorf("%q expired", got)
	}
	if a.sessions.Len() != 0 {
		t.Errorf("%d sessions", a.sessions.Len())
	}
	_ = token
}

// TestSessionsInADrain: who holds a state is closed with the code of the drain, and the state expires
// once, when the engine has ended.
func TestSessionsInADrain(t *testing.T) {
	a := newArcade(t, engine.Config{Loops: 2, CloseTimeout: time.Millisecond, Drain: engine.Drain{Over: time.Millisecond, Code: 4000}}, Config{})
	waits, _ := a.sit("waits")
	a.lose(waits)
	_, _ = a.sit("is there")
	_ = a.end() // the client does not answer: it is cut
	for e := one(t, a.closed, "OnClose"); e.Code != 4000; e = one(t, a.closed, "OnClose") {
		if errors.Is(e, engine.ErrStopped) {
			t.Errorf("closed with %v", e)
		}
	}
	if got := map[string]bool{one(t, a.expired, "OnExpire"): true, one(t, a.expired, "OnExpire"): true}; !got["waits"] || !got["is there"] || len(a.expired) != 0 || a.sessions.Len() != 0 {
		t.Errorf("expired: %v", got)
	}
}

// TestSessionsFull: waiting sessions count; an expired one makes room.
func TestSessionsFull(t *testing.T) {
	a := newArcade(t, engine.Config{Loops: 1}, Config{Max: 2})
	c, _ := a.sit("ada")
	a.lose(c)
	_, _ = a.sit("grace")
	third := a.dial()
	third.want("begin edith", "error: session: there are too many sessions")
	a.clock.pass(30 * time.Second)
	_ = one(t, a.expired, "OnExpire")
	if got := third.ask("begin edith"); strings.HasPrefix(got, "error") {
		t.Error(got)
	}
}

// TestSessionPanics: one in the function of Resume closes the connection, which
// loses the session like any other; one in OnExpire is logged.
func TestSessionPanics(t *testing.T) {
	var expired atomic.Int32
	a := newArcade(t, engine.Config{Loops: 1}, Config{OnExpire: func(any) { expired.Add(1); panic(errOnPurpose) }})
	c, token := a.sit("panic")
	a.lose(c)
	c = a.dial()
	c.send(protocol.OpText, "resume "+token)
	if e := c.closed(); e.Code != protocol.CloseInternalError {
		t.Errorf("closed with %v", e)
	}
	_ = one(t, a.closed, "OnClose")
	a.await("the loss", func() bool { return a.waiting() == 1 })
	a.clock.pass(30 * time.Second)
	a.await("the second panic in the log", func() bool { return a.logs.FilterMessageSnippet("panicked").Len() == 2 })
	if expired.Load() != 1 {
		t.Errorf("%d expired", expired.Load())
	}
	for _, name := range []string{"still alive", "and another"} {
		c, _ := a.sit(name)
		a.lose1(c)
	}
	if err := a.end(); err != nil || expired.Load() != 3 { // a panic of one at the end is none of the other's
		t.Errorf("%v; %d expired", err, expired.Load())
	}
}

// TestSessionMisuse: what is wrong is said.
func TestSessionMisuse(t *testing.T) {
	results := make(chan error, 20)
	var mine, others, second *Store
	var token string
	begun := make(chan struct{})
	s := serve(t, engine.Config{Loops: 1}, engine.Handler{OnOpen: func(c *engine.Conn) {
		<-begun
		nothing := func(any) {}
		_, err := others.Begin(c, 1)
		results <- err
		results <- others.Resume(c, token, nothing)
		if token, err = mine.Begin(c, 1); err != nil {
			results <- err
		}
		results <- second.Resume(c, token, nothing)
		_ = c.Close(protocol.CloseNormal, "")
		_, err = mine.Begin(c, 1)
		results <- err
		results <- mine.Resume(c, token, nothing)
		func() {
			defer func() {
				if recover() == nil {
					results <- errors.New("no function, and nobody says so")
				}
			}()
			_ = mine.Resume(c, token, nil)
		}()
		close(results)
	}})
	e, err := engine.New(engine.Config{}, engine.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Shutdown(context.Background()) }()
	key := make([]byte, 16)
	for _, x := range []struct {
		s **Store
		e *engine.Engine
	}{{&mine, s.Engine}, {&second, s.Engine}, {&others, e}} {
		if *x.s, err = New(x.e, Config{Key: key}); err != nil {
			t.Fatal(err)
		}
	}
	token = others.seal.token(newSessionID(), time.Now().Add(time.Hour).UnixMilli())
	close(begun)
	_ = s.dial().closed()
	for _, want := range []string{"of another Engine", "of another Engine", "not begun here", "closed", "closed"} {
		if err := <-results; err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if err, more := <-results; more {
		t.Error(err)
	}
	for cfg, want := range map[*Config]string{
		{Key: make([]byte, 15)}:          "session: Config.Key has 15 bytes",
		{Key: []byte{}}:                  "session: Config.Key has 0 bytes",
		{Grace: time.Millisecond}:        "Config.Grace is 1ms",
		{Grace: engine.NoLimit}:          "Config.Grace",
		{TokenLifetime: time.Second - 1}: "Config.TokenLifetime is",
		{Max: -2}:                        "Config.Max is -2",
	} {
		if _, err := New(e, *cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestSessionsFoughtOver: clients on two loops take each other's seats, leave,
// drop and reset, all at once. No move is lost, no seat is in two hands, each
// expires once. The race detector looks on.
func TestSessionsFoughtOver(t *testing.T) {
	const seats, players, rounds = 3, 6, 40
	var moves atomic.Int64
	total, expired := 0, 0
	var sessions *Store
	begun := make(chan struct{})
	s := serve(t, engine.Config{Loops: 2}, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			<-begun
			if x, ok := c.State().(*seat); ok {
				if x.holder != c {
					t.Error("a seat in two hands")
				}
				x.moves++
				moves.Add(1)
				_ = c.Send(m)
				return
			}
			if err := sessions.Resume(c, m.Text(), func(state any) {
				x := state.(*seat)
				if x.holder != nil {
					t.Error("a seat in two hands")
				}
				x.holder = c
				c.SetState(x)
				_ = c.SendText("yours")
			}); err != nil {
				t.Error(err)
			}
		},
		OnClose: func(c *engine.Conn, e *engine.CloseError) {
			if x, ok := c.State().(*seat); ok {
				if x.holder != c {
					t.Error("a seat in two hands")
				}
				x.holder = nil
			}
		},
		OnOpen: func(c *engine.Conn) {
			<-begun
			if c.ID() <= seats {
				x := &seat{holder: c}
				c.SetState(x)
				token, err := sessions.Begin(c, x)
				if err != nil {
					t.Error(err)
				}
				_ = c.SendText(token)
			}
		},
	})
	var err error
	sessions, err = New(s.Engine, Config{OnExpire: func(state any) {
		total += state.(*seat).moves
		expired++
	}})
	if err != nil {
		t.Fatal(err)
	}
	close(begun)
	var tokens []string
	for range seats {
		_, token := s.dial().receive()
		tokens = append(tokens, token)
	}
	var fight sync.WaitGroup
	for p := range players {
		fight.Go(func() {
			for i := range rounds {
				c := s.dial()
				_, _ = c.Write(c.frame(tokens[(p+i*(p+1))%seats]))
				for range i % 4 {
					if ev, err := c.next(); err != nil || ev.Kind == codec.Close {
						break // somebody else was faster
					}
					_, _ = c.Write(c.frame("move"))
				}
				if i%3 == 0 {
					abort(c.Conn)
				} else {
					_ = c.Conn.Close()
				}
			}
		})
	}
	fight.Wait()
	if err := s.end(); err != nil {
		t.Error(err)
	}
	if expired != seats || int64(total) != moves.Load() || total == 0 {
		t.Errorf("%d seats expired with %d moves of %d", expired, total, moves.Load())
	}
}
