package session

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// seat is a state. Only who has it touches it: the race detector looks on.
type seat struct {
	name   string
	holder *engine.Conn
	moves  int
}

// arcade is a server whose clients take seats.
type arcade struct {
	*server
	sessions *Store
	clock    *clock
	expired  chan string
	release  chan struct{} // lets functions of Go return
	closed   chan *engine.CloseError
}

func newArcade(t *testing.T, cfg engine.Config, sc Config) *arcade {
	a := &arcade{expired: make(chan string, 100), release: make(chan struct{}), closed: make(chan *engine.CloseError, 100)}
	if sc.OnExpire == nil {
		sc.OnExpire = func(state any) {
			x := state.(*seat)
			if x.holder != nil {
				t.Error("expired in somebody's hands")
			}
			a.expired <- x.name
		}
	}
	begun := make(chan struct{})
	a.server = serve(t, cfg, engine.Handler{
		OnMessage: func(c *engine.Conn, m engine.Message) {
			<-begun
			a.command(c, m)
		},
		OnClose: func(c *engine.Conn, e *engine.CloseError) {
			if x, ok := c.State().(*seat); ok {
				if x.holder != c {
					t.Error("OnClose, and the seat is another's")
				}
				x.holder = nil
				if e.Reason == "bye" && a.sessions.End(c) != nil {
					t.Error("a holder cannot end its session")
				}
			}
			a.closed <- e
		},
	})
	var err error
	if a.sessions, err = New(a.Engine, sc); err != nil {
		t.Fatal(err)
	}
	a.clock = &clock{t: t, now: a.sessions.now()}
	a.sessions.now, a.sessions.after = a.clock.read, a.clock.after
	close(begun)
	return a
}

// command carries out what a client asks: "begin NAME", "resume TOKEN", "move",
// "go", "end", "token", "drop TOKEN".
func (a *arcade) command(c *engine.Conn, m engine.Message) {
	verb, rest, _ := strings.Cut(m.Text(), " ")
	answer := func(err error, format string, args ...any) {
		if err != nil {
			_ = c.SendText("error: " + err.Error())
			return
		}
		_ = c.SendText(fmt.Sprintf(format, args...))
	}
	x, _ := c.State().(*seat)
	switch verb {
	case "begin":
		x = &seat{name: rest, holder: c}
		token, err := a.sessions.Begin(c, x)
		if err == nil {
			c.SetState(x)
		}
		answer(err, "%s", token)
	case "resume":
		inside := true
		if err := a.sessions.Resume(c, rest, func(state any) {
			x := state.(*seat)
			if inside || x.holder != nil || !c.Loop().On() {
				a.t.Errorf("inside Resume %v, held %v, on its loop %v", inside, x.holder != nil, c.Loop().On())
			}
			x.holder = c
			c.SetState(x)
			if x.moves++; x.name == "panic" {
				panic(errOnPurpose)
			}
			answer(nil, "resumed %s, %d moves", x.name, x.moves)
		}); err != nil {
			answer(err, "")
		}
		inside = false
	case "drop":
		err := a.sessions.Resume(c, rest, func(any) { a.t.Error("a state whose session is over") })
		answer(errors.Join(err, a.sessions.End(c)), "ended")
	case "move":
		x.moves++
		answer(nil, "%d moves", x.moves)
	case "go":
		_ = c.Go(m, func(ctx context.Context, m engine.Message) { <-a.release })
		answer(nil, "gone")
	case "token":
		token, err := a.sessions.Token(c)
		answer(err, "%s", token)
	case "end":
		answer(a.sessions.End(c), "ended")
	case "loop":
		answer(nil, "%d", c.Loop().Index())
	}
}

func (c *client) ask(text string) string {
	c.t.Helper()
	c.send(protocol.OpText, text)
	_, answer := c.receive()
	return answer
}

func (c *client) want(text, answer string) {
	c.t.Helper()
	if got := c.ask(text); got != answer {
		c.t.Fatalf("%.20s: %q, want %q", text, got, answer)
	}
}

// sit opens a connection with a session.
func (a *arcade) sit(name string) (c *client, token string) {
	a.t.Helper()
	c = a.dial()
	token = c.ask("begin " + name)
	if strings.HasPrefix(token, "error") {
		a.t.Fatal(token)
	}
	return c, token
}

// lose drops a connection and waits until the server knows it.
func (a *arcade) lose(c *client) {
	a.t.Helper()
	_ = c.Conn.Close()
	_ = one(a.t, a.closed, "OnClose")
	a.await("the loss", func() bool {
		a.sessions.mu.Lock()
		defer a.sessions.mu.Unlock()
		return len(a.sessions.byConn) == 0
	})
}

// elsewhere opens a connection on another loop than c, if there is one.
func (a *arcade) elsewhere(c *client) *client {
	if len(a.Loops()) == 1 {
		return a.dial()
	}
	on := c.ask("loop")
	for {
		if other := a.dial(); other.ask("loop") != on {
			return other
		}
	}
}

// waiting counts the sessions in their grace period.
func (a *arcade) waiting() (n int) {
	a.sessions.mu.Lock()
	defer a.sessions.mu.Unlock()
	for _, x := range a.sessions.byID {
		if x.grace != nil {
			n++
		}
	}
	return n
}

// lose1 resets one of several connections and waits for its OnClose.
func (a *arcade) lose1(c *client) {
	a.t.Helper()
	abort(c.Conn)
	_ = one(a.t, a.closed, "OnClose")
}
