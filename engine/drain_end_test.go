package engine

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// TestDrainHTTP: a request under way is answered, one that comes meanwhile too, and both are told
// to come on another connection; an idle connection is closed.
func TestDrainHTTP(t *testing.T) {
	inside, release := make(chan bool), make(chan bool)
	s := serve(t, Config{HTTP: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			inside <- true
			<-release
		}
		fmt.Fprint(w, "done")
	})}, Handler{})
	s.dial("/", nil)
	kept, slow := s.connect(), s.connect()
	ask := func(path string) { _, _ = io.WriteString(kept, "GET "+path+" HTTP/1.1\r\nHost: a\r\n\r\n") }
	ask("/")
	if r, err := http.ReadResponse(bufio.NewReader(kept), nil); err != nil || r.Close {
		t.Fatalf("before the drain: %v %v", r, err)
	}
	idle := s.connect()
	_, _ = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
	if _, err := http.ReadResponse(bufio.NewReader(idle), nil); err != nil {
		t.Fatal(err)
	}
	x := s.drain(t.Context(), Drain{Over: long})
	x.at(DrainUnready)
	x.to(DrainArrived)
	x.to(DrainClosing)
	x.next <- true
	ask("/") // http.Server says nothing of its own yet
	if r, _ := s.response(kept); r.StatusCode != 200 || !r.Close {
		t.Errorf("in the drain: %s, to be closed: %v", r.Status, r.Close)
	}
	_, _ = io.WriteString(slow, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
	<-inside
	go func() { _ = s.Shutdown(context.Background()) }()
	x.at(DrainEnding)
	x.next <- true
	if rest, err := io.ReadAll(idle); err != nil || len(rest) != 0 {
		t.Errorf("the idle connection: %q %v", rest, err)
	}
	close(release)
	if r, _ := s.response(slow); r.StatusCode != 200 || r.ContentLength != 4 {
		t.Errorf("at the end: %s", r.Status)
	}
	s.hangUp()
	x.at(DrainEnded)
	x.next <- true
	if err := one(t, x.done, "the end"); err != nil {
		t.Error(err)
	}
}

// TestDrainCounts: who does not answer its close frame is cut, and counted, as in a shutdown.
func TestDrainCounts(t *testing.T) {
	paused := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, CloseTimeout: 10 * time.Millisecond}, Handler{OnMessage: func(c *Conn, _ Message) {
		paused <- c
		_ = c.PauseReading()
	}})
	_, stays := s.dial("/", nil), s.dial("/", nil)
	stays.sendAll("pause", "this waits")
	c := one(t, paused, "the message")
	x := s.drain(t.Context(), Drain{})
	x.at(DrainUnready)
	x.to(DrainArrived)
	x.to(DrainClosing)
	x.next <- true
	s.await("the silent one to be cut", func() bool { return s.Stats().Connections == 1 })
	if err := c.Abort(); err != nil {
		t.Error(err)
	}
	x.at(DrainEnding)
	var cut *CutError
	if err := x.end(DrainEnding); !errors.As(err, &cut) || cut.Connections != 1 {
		t.Errorf("Drain: %v", err)
	}
}

// TestDrainAndDial: a connection to another server stays until the others are gone, and is not made again.
// One from another engine comes back when it was asked to.
func TestDrainAndDial(t *testing.T) {
	other := serve(t, Config{Loops: 1}, Handler{})
	s := serve(t, Config{Loops: 1}, Handler{})
	ended := make(chan *CloseError, 1)
	opened := make(chan bool, 2)
	s.mustDial(Dial{URL: other.url("/"), Reconnect: true, Handler: &Handler{
		OnOpen: func(*Conn) { opened <- true }, OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	}})
	one(t, opened, "the dialled connection")
	p := pure(t, Config{Loops: 1}, Handler{})
	p.mustDial(Dial{URL: s.url("/"), Reconnect: true, BackoffMin: time.Millisecond, BackoffMax: 2 * time.Millisecond, Handler: &Handler{OnOpen: func(*Conn) { opened <- true }}})
	one(t, opened, "the client")
	x := s.drain(t.Context(), Drain{Comeback: 24 * time.Hour})
	x.at(DrainUnready)
	x.to(DrainArrived)
	x.to(DrainClosing)
	x.next <- true
	x.at(DrainEnding)
	s.await("the client to leave", func() bool { return s.Stats().Open == 1 })
	if len(ended) > 0 {
		t.Error("the dialled connection has ended")
	}
	p.await("the client to wait", func() bool { return p.waiting() == 1 })
	done := make(chan int64)
	w := p.loops[0]
	_ = w.post(post{kind: ownPost, do: func() {
		for d := range w.waiting {
			done <- d.timer.Due() - w.now()
		}
	}})
	if left := time.Duration(one(t, done, "its time")) * time.Millisecond; left < 11*time.Hour || left > 13*time.Hour {
		t.Errorf("it comes back in %v", left)
	}
	if err := x.end(DrainEnding); err != nil {
		t.Error(err)
	}
	if e := one(t, ended, "OnClose"); e.Code != protocol.CloseGoingAway || !errors.Is(e, ErrStopped) {
		t.Errorf("the dialled connection ended with %v", e)
	}
}

// TestDrainHeldUp: a callback that blocks holds up its own loop alone; a slow reader gets all that was queued for it; a
// function of Go that does not return is cut when the context ends, as is a peer that does not answer.
func TestDrainHeldUp(t *testing.T) {
	hold, held := make(chan bool), make(chan bool)
	const much = 8 << 20
	s := serve(t, Config{Loops: 2, SendBytesMax: NoLimit, SendBytesHigh: NoLimit, WriteStallTimeout: NoLimit}, Handler{OnMessage: func(c *Conn, m Message) {
		switch m.Text() {
		case "hold":
			held <- true
			<-hold
		case "much":
			_ = c.SendBinary(make([]byte, much))
		case "for ever":
			_ = c.Go(m, func(ctx context.Context, _ Message) { <-ctx.Done() })
		}
	}})
	blocked, slow, stuck, other := s.dial("/", nil), s.dial("/", nil), s.dial("/", nil), s.dial("/", nil) // on the loops by turns
	slow.send(protocol.OpText, "much")
	s.await("the flood", func() bool { return s.Stats().BytesOut > 1<<12 })
	stuck.send(protocol.OpText, "for ever")
	s.await("the function", func() bool { return s.Draining().Functions == 1 })
	blocked.send(protocol.OpText, "hold")
	<-held
	ctx, end := context.WithCancel(t.Context())
	x := s.drain(ctx, Drain{})
	x.at(DrainUnready)
	x.to(DrainArrived)
	x.to(DrainClosing)
	x.next <- true
	if info := other.closed(); info.Code != protocol.CloseGoingAway {
		t.Errorf("on the other loop: %v", info)
	}
	if _, m := slow.receive(); len(m) != much {
		t.Errorf("the slow reader got %d bytes", len(m))
	}
	if info := slow.closed(); info.Code != protocol.CloseGoingAway {
		t.Errorf("the slow reader: %v", info)
	}
	hold <- true
	if info := blocked.closed(); info.Code != protocol.CloseGoingAway {
		t.Errorf("whose callback blocked: %v", info)
	}
	end()
	x.at(DrainEnding)
	err := x.end(DrainEnding)
	var cut *CutError
	if !errors.As(err, &cut) || cut.Connections != 1 || cut.Functions != 1 {
		t.Errorf("Drain: %v", err)
	}
}

// TestRunDrains: Run stops as Config.Drain says; what is wrong with that is an error.
func TestRunDrains(t *testing.T) {
	s := serve(t, Config{Drain: Drain{Over: time.Millisecond, Code: 4001, Reason: "new version"}}, Handler{})
	c := s.dial("/", nil)
	s.stop()
	if info := c.closed(); info.Code != 4001 || info.Reason != "new version" {
		t.Errorf("closed with %v", info)
	}
	if err := s.end(); err != nil {
		t.Error(err)
	}
	for _, x := range []struct {
		d    Drain
		says string
	}{
		{Drain{Over: -1}, "negative"},
		{Drain{Comeback: 25 * time.Hour}, "Comeback"},
		{Drain{Code: 1005}, "Code is 1005"},
		{Drain{Reason: strings.Repeat("x", 124)}, "124 bytes"},
		{Drain{Reason: strings.Repeat("x", 97), Comeback: 1}, "97 bytes"},
	} {
		if _, err := New(Config{Drain: x.d}, Handler{}); err == nil || !strings.Contains(err.Error(), "Config.Drain") || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%+v: %v", x.d, err)
		}
	}
	if err := s.Drain(t.Context(), Drain{}); err != nil { // it has ended
		t.Error(err)
	}
	e, err := New(Config{}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Drain(t.Context(), Drain{Unready: long}); err != nil { // it never ran
		t.Error(err)
	}
}

func TestRetryAfter(t *testing.T) {
	for reason, want := range map[string]time.Duration{
		withRetryAfter("the server restarts", 1234*time.Millisecond): 1234 * time.Millisecond,
		withRetryAfter(strings.Repeat("x", 96), retryAfterMax):       24 * time.Hour,
		"; retry after 0 ms":        0,
		"":                          -1,
		"; retry after ms":          -1,
		"; retry after -1 ms":       -1,
		"; retry after 5 s":         -1,
		"; retry after 5 ms, maybe": -1,
		"; retry after 86400001 ms": -1,
	} {
		d, ok := RetryAfter(reason)
		if !ok {
			d = -1
		}
		if d != want || len(reason) > 123 {
			t.Errorf("%q: %v, want %v", reason, d, want)
		}
	}
}

// TestHealth: each reason for not being ready.
func TestHealth(t *testing.T) {
	e, err := New(Config{Addr: "ws://127.0.0.1:0", ConnectionsMax: 1}, Handler{})
	if err != nil {
		t.Fatal(err)
	}
	says := func(want string) {
		t.Helper()
		if h := e.Health(); h.Ready() != (want == "") || !strings.Contains(strings.Join(h.NotReady, "\n"), want) {
			t.Errorf("health %+v, want %q", h, want)
		}
	}
	says("does not run yet")
	s := run(t, e)
	says("")
	c := s.dial("/", nil)
	says("ConnectionsMax")
	c.close(protocol.CloseNormal, "")
	_ = c.closed()
	s.await("it to leave", func() bool { return s.Stats().Connections == 0 })
	e.memory.buffered.Add(int64(e.set.BufferBytesMax))
	says("BufferBytesMax")
	e.memory.buffered.Add(-int64(e.set.BufferBytesMax))
	says("")
	_ = e.listeners.all()[0].Close()
	says("listeners are closed")
	_ = s.end()
	says("is shut down")
}
