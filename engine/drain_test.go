package engine

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/protocol"
)

// drained is a drain under way. It stays at the beginning of each stage until the test has it go on.
type drained struct {
	t      testing.TB
	stages chan DrainProgress
	next   chan bool
	done   chan error
}

func (s *server) drain(ctx context.Context, d Drain) *drained {
	x := &drained{t: s.t, stages: make(chan DrainProgress), next: make(chan bool), done: make(chan error, 1)}
	last := NotDraining
	d.Progress = func(p DrainProgress) {
		if p.Stage != last {
			last = p.Stage
			x.stages <- p
			<-x.next
		}
	}
	go func() { x.done <- s.Drain(ctx, d) }()
	return x
}

// at waits until a stage begins.
func (x *drained) at(want DrainStage) DrainProgress {
	x.t.Helper()
	p := one(x.t, x.stages, "the stage "+want.String())
	if p.Stage != want {
		x.t.Fatalf("the stage is %v, want %v", p.Stage, want)
	}
	return p
}

// to lets the drain go on to a stage.
func (x *drained) to(want DrainStage) DrainProgress {
	x.t.Helper()
	x.next <- true
	return x.at(want)
}

// end lets the drain end from the stage that it is in.
func (x *drained) end(from DrainStage) error {
	x.t.Helper()
	for from++; from <= DrainEnded; from++ {
		x.to(from)
	}
	x.next <- true
	return one(x.t, x.done, "the end of the drain")
}

// planned calls f on a loop with its plan.
func (s *server) planned(loop int, f func(p *drainPlan)) {
	done := make(chan bool)
	w := s.loops[loop]
	if err := w.post(post{kind: ownPost, do: func() { f(w.drains.plan); close(done) }}); err != nil {
		s.t.Fatal(err)
	}
	one(s.t, done, "the loop to turn")
}

// stepped lets time pass, and waits until the plans have taken a step then.
func (s *server) stepped(d time.Duration) {
	s.t.Helper()
	for ; d > 0; d -= drainStepMax {
		s.pass(min(d, drainStepMax))
		for i := range s.loops {
			s.await("a step of the plan", func() (done bool) {
				s.planned(i, func(p *drainPlan) { done = p.last == s.elapsed() })
				return done
			})
		}
	}
}

// TestDrainIsEven: every stage is told, in order; connections are closed evenly over the time, the
// idle ones first, and the reason of each asks for another time to come back.
func TestDrainIsEven(t *testing.T) {
	s := serveAt(t, new(testClock), Config{Loops: 1, CloseTimeout: patience}, Handler{OnMessage: echo})
	var idle, busy []*client
	for range 4 {
		busy, idle = append(busy, s.dial("/", nil)), append(idle, s.dial("/", nil))
	}
	x := s.drain(t.Context(), Drain{Unready: time.Millisecond, Over: 8 * time.Second, Comeback: 80 * time.Second})
	if p := x.at(DrainUnready); p.Total != 8 || p.Left != 8 || s.Draining() != p {
		t.Errorf("told %v", p)
	}
	s.planned(0, func(*drainPlan) {}) // it has looked
	for _, c := range busy {
		c.send(protocol.OpText, "here")
		c.expect("here")
	}
	late := s.dial("/", nil) // one more is served, and is not idle
	x.to(DrainArrived)
	x.to(DrainClosing)
	x.next <- true
	s.await("the closing to begin", func() (begun bool) {
		s.planned(0, func(p *drainPlan) { begun = p.closing })
		return begun
	})
	var last, passed time.Duration
	for i, c := range append(append(idle, late), busy...) {
		left, next := 9-i, (2*time.Duration(i)+1)*8*time.Second/18 // every 8/9 s, the first one after half of that
		const near = 50 * time.Millisecond
		s.stepped(next - near - passed)
		if s.Stats().Open != left {
			t.Fatalf("after %v %d are open, want %d", next-near, s.Stats().Open, left)
		}
		s.stepped(2 * near)
		passed = next + near
		info := c.closed()
		after, ok := RetryAfter(info.Reason)
		if info.Code != protocol.CloseServiceRestart || !ok || !strings.HasPrefix(info.Reason, "the server restarts;") {
			t.Errorf("closed with %v", info)
		}
		if mean := 80 * time.Second / 9; i > 0 && (after-last < mean-2*time.Second || after-last > mean+2*time.Second) {
			t.Errorf("%d comes back after %v, the one before after %v", i, after, last)
		}
		last = after
		s.await("it to leave", func() bool { return s.Stats().Open == left-1 })
	}
	s.stepped(time.Second)
	if p := x.at(DrainEnding); p.Left != 0 || p.Total != 9 {
		t.Errorf("told %v", p)
	}
	if err := x.end(DrainEnding); err != nil {
		t.Error(err)
	}
}

// TestDrainRefusesNobody: what waits in the accept queue, and what is in its handshake, is served
// to its end, although the loop had no time for it when the drain began.
func TestDrainRefusesNobody(t *testing.T) {
	hold, held := make(chan bool), make(chan bool)
	s := serve(t, Config{Loops: 1}, Handler{OnMessage: func(*Conn, Message) { held <- true; <-hold }})
	holder := s.dial("/", nil)
	holder.send(protocol.OpText, "hold")
	<-held
	var clients []*client
	for i := range 3 * acceptorsPerListener {
		c := newClient(t, s.connect(), clientOptions(s.Addr().String()))
		c.session.Start(&c.env)
		if i%2 == 0 {
			c.flush()
		}
		clients = append(clients, c)
	}
	x := s.drain(t.Context(), Drain{})
	x.at(DrainUnready)
	x.to(DrainArrived)
	hold <- true
	x.to(DrainClosing)
	x.next <- true
	for i := range clients {
		i = (2*i + (2*i)/len(clients)) % len(clients) // the even ones first
		c := clients[i]
		if i%2 == 1 {
			if _, left := s.life.draining.Load().left(); left == 0 {
				t.Errorf("nothing is left to wait for, but client %d", i)
			}
			c.flush()
		}
		for opened := false; !opened; {
			ev, err := c.next()
			if err != nil || c.env.Closed != nil {
				t.Fatalf("client %d: %v %v", i, err, c.env.Closed)
			}
			opened = ev.Kind != 0
		}
		if info := c.closed(); info == nil || info.Code != protocol.CloseGoingAway {
			t.Errorf("client %d is closed with %v", i, info)
		}
	}
	_ = holder.closed()
	x.at(DrainEnding)
	if err := x.end(DrainEnding); err != nil {
		t.Error(err)
	}
	if n := s.Stats().Refused; n != 0 {
		t.Errorf("%d were refused", n)
	}
}

// TestDrainHurries: Shutdown ends the waiting, and who is left gets the code and the times to come
// back that were chosen.
func TestDrainHurries(t *testing.T) {
	s := serve(t, Config{Loops: 1}, Handler{})
	var clients []*client
	for range 4 {
		clients = append(clients, s.dial("/", nil))
	}
	done := make(chan error, 3)
	go func() {
		done <- s.Drain(t.Context(), Drain{Unready: long, Over: long, Code: 4000, Reason: "moved", Comeback: 8 * time.Second})
	}()
	s.await("the drain", func() bool { return s.Draining().Stage == DrainUnready })
	s.planned(0, func(*drainPlan) {})
	go func() { done <- s.Drain(t.Context(), Drain{}) }() // waits for the first one
	if h := s.Health(); h.Ready() || !h.Live() || !strings.Contains(fmt.Sprint(h.NotReady), "drains") {
		t.Errorf("health: %+v", h)
	}
	if _, err := s.Listen(Config{Addr: "ws://127.0.0.1:0"}, nil); !errors.Is(err, ErrStopped) {
		t.Errorf("Listen: %v", err)
	}
	go func() { done <- s.Shutdown(t.Context()) }()
	for i, c := range clients {
		want := fmt.Sprintf("moved; retry after %d ms", 1000+2000*i)
		if info := c.closed(); info.Code != 4000 || info.Reason != want {
			t.Errorf("closed with %v, want %q", info, want)
		}
	}
	for range 3 {
		if err := one(t, done, "Drain and Shutdown"); err != nil {
			t.Error(err)
		}
	}
	if p := s.Draining(); p.Stage != DrainEnded || p.Left != 0 || p.Total != 4 {
		t.Errorf("%v", p)
	}
}
