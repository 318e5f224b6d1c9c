package engine

import (
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

var (
	hostileFor  = flag.Duration("hostile", 0, "how long TestHostile goes on, in rounds of other seeds and larger numbers; 0: one short round")
	hostileSeed = flag.Uint64("hostile.seed", 1, "the seed of the first round of TestHostile")
)

// heapSlack is how much more may be alive after an attack than before it.
const heapSlack = 2 << 20

// hostile is one kind of peer, or of program, that does its worst. A new one is
// a row in the table of its topic.
type hostile struct {
	name    string
	ceiling int // MiB by which the memory of the process may rise meanwhile, both ends
	cfg     Config
	handler func(s *siege) Handler // nil: an echo
	attack  func(s *siege)
}

// TestHostile runs every attack against an engine of its own. Whatever it was,
// afterwards the engine serves, counts nothing as waiting or lent, and holds
// no more memory than before; meanwhile it stayed below the ceiling.
func TestHostile(t *testing.T) {
	until, seed := time.Now().Add(*hostileFor), *hostileSeed
	for ok := true; ok; seed++ {
		for _, a := range slices.Concat(headAttacks, frameAttacks, floodAttacks, socketAttacks, callbackAttacks, tlsAttacks) {
			t.Run(fmt.Sprintf("seed=%d/%s", seed, a.name), func(t *testing.T) { a.run(t, seed) })
		}
		ok = !t.Failed() && time.Now().Before(until)
	}
}

// siege is an engine under attack.
type siege struct {
	*server
	seed uint64
	rand *rand.Rand   // of the attack's own goroutine
	told atomic.Int32 // calls of OnBackpressure, where the handler counts them

	mu     sync.Mutex
	peers  []net.Conn
	known  map[*Conn]bool // OnOpen was called; the value: OnClose too
	forget bool           // not to keep whom OnClose was called for: there are too many
	broken []string
}

func (a *hostile) run(t *testing.T, seed uint64) {
	s := &siege{seed: seed, rand: rand.New(rand.NewPCG(seed, 6455)), known: map[*Conn]bool{}}
	h := Handler{OnMessage: echo}
	if a.handler != nil {
		h = a.handler(s)
	}
	cfg := a.cfg
	cfg.Logger = zap.NewNop() // what is logged would count as alive
	cfg.Loops = 1 + int(seed%2)
	s.server = serve(t, cfg, s.counting(h))
	s.serves() // what an engine makes once is there after this
	s.calm()
	before, begun := heap(), time.Now()
	watch := newGauge()
	a.attack(s)
	s.serves()
	s.leave()
	s.serves()
	s.calm()
	rise := watch.rise()
	after := heap()
	for tries := 0; after > before+heapSlack && tries < 20; tries++ {
		after = heap() // goroutines of the attack may have been on their way out
	}
	t.Logf("%-28s heap %+6d KiB  rss %+6d KiB of %d MiB  %v", a.name, (after-before)>>10, rise>>10, a.ceiling, time.Since(begun).Round(time.Millisecond))
	if after > before+heapSlack {
		t.Errorf("%d KiB of heap before, %d after", before>>10, after>>10)
	}
	if rise > a.ceiling<<20*raceFactor {
		t.Errorf("the process grew by %d KiB", rise>>10)
	}
	for _, what := range s.broken {
		t.Error(what)
	}
}

// n is how many of something the short and the long form do.
func (s *siege) n(short, long int) int {
	if *hostileFor > 0 {
		return long
	}
	return short
}

// counting notes whom the program knows, around the callbacks of h.
func (s *siege) counting(h Handler) Handler {
	opens, closes := h.OnOpen, h.OnClose
	h.OnOpen = func(c *Conn) {
		s.mu.Lock()
		s.known[c] = false
		s.mu.Unlock()
		if opens != nil {
			opens(c)
		}
	}
	h.OnClose = func(c *Conn, e *CloseError) {
		s.mu.Lock()
		if closed, opened := s.known[c]; closed || !opened {
			s.broken = append(s.broken, fmt.Sprintf("OnClose of %d: opened %v, closed before: %v", c.ID(), opened, closed))
		}
		if s.known[c] = true; s.forget {
			delete(s.known, c)
		}
		s.mu.Unlock()
		if closes != nil {
			closes(c, e)
		}
	}
	return h
}

// connect opens a connection that the attack may leave open.
func (s *siege) connect() net.Conn { return s.connectTo(s.Listeners()[0]) }

// connectTo is connect to another listener than the first.
func (s *siege) connectTo(l *Listener) net.Conn {
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	_ = nc.SetDeadline(time.Now().Add(patience))
	s.mu.Lock()
	s.peers = append(s.peers, nc)
	s.mu.Unlock()
	return nc
}

// connectMany opens n connections.
func (s *siege) connectMany(n int) []net.Conn {
	all := make([]net.Conn, n)
	for i := range all {
		all[i] = s.connect()
	}
	return all
}

// open opens a WebSocket.
func (s *siege) open() *client { return s.openPath("/") }

func (s *siege) openPath(path string) *client {
	c := newClient(s.t, s.connect(), &codec.Options{Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100,
		MessageBytesMax: 1 << 30, FragmentsMax: 1 << 20, Host: "localhost", Target: path})
	c.session.Start(&c.env)
	c.flush()
	if ev, err := c.next(); err != nil || ev.Kind != codec.Open {
		s.t.Fatalf("a handshake: %+v %v", ev, err)
	}
	return c
}

// leave closes what the attack left open.
func (s *siege) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, nc := range s.peers {
		_ = nc.Close()
	}
	s.peers = nil
}

// serves has a fresh client on each loop served properly.
func (s *siege) serves() {
	s.t.Helper()
	for range s.running() {
		c := s.open()
		for _, m := range []string{"hello", strings.Repeat("long ", 40_000), ""} {
			c.send(protocol.OpText, m)
			c.expect(m)
		}
		c.send(protocol.OpPing, "there?")
		if ev, err := c.next(); err != nil || ev.Kind != codec.Pong || string(ev.Data) != "there?" {
			s.t.Fatalf("instead of a pong: %+v %v", ev, err)
		}
		c.close(protocol.CloseNormal, "")
		if info := c.closed(); info == nil || info.Code != protocol.CloseNormal {
			s.t.Fatalf("closed with %v", info)
		}
	}
}

// calm waits until every connection is gone, and then nothing may be left of
// any: no byte that waits, no buffer that is lent, no timer.
func (s *siege) calm() {
	s.t.Helper()
	s.await("every connection to be gone", func() bool { return s.Stats().Connections == 0 })
	for _, w := range s.running() {
		done := make(chan struct{})
		_ = w.post(post{do: func() {
			defer close(done)
			b := &w.inbox
			b.mu.Lock()
			waiting := int(b.bytes.Load()) + len(b.posts)
			b.mu.Unlock()
			if lent := w.env.Buffers.Lent(); lent+len(w.conns)+w.time.wheel.Len()+len(w.env.Out)+waiting != 0 {
				s.t.Errorf("left on a loop: %d buffers lent, %d connections, %d timers, %d bytes of output, %d in the inbox",
					lent, len(w.conns), w.time.wheel.Len(), len(w.env.Out), waiting)
			}
		}})
		<-done
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, closed := range s.known {
		if n := c.out.queued.Load(); n != 0 || !closed || !c.out.queue.Empty() || c.input().parked != nil {
			s.t.Errorf("left of connection %d: %d bytes queued, OnClose called: %v, queue %+v, extra %+v", c.ID(), n, closed, c.out.queue, c.extra)
		}
	}
	s.known = map[*Conn]bool{}
}

// abort resets a connection.
func abort(nc net.Conn) {
	_ = nc.(*net.TCPConn).SetLinger(0)
	_ = nc.Close()
}

// ends reads until the stream does, and returns the first MiB of what came. A
// reset is an end.
func (s *siege) ends(who string, nc net.Conn) string {
	b, err := io.ReadAll(io.LimitReader(nc, 1<<20))
	if err == nil {
		_, err = io.Copy(io.Discard, nc)
	}
	if cutOff(err) != nil {
		s.t.Errorf("%q: the server did not end the stream after %d bytes: %.200q", who, len(b), b)
	}
	return string(b)
}
