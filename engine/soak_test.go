package engine

import (
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
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
	soakFor  = flag.Duration("soak", 2*time.Second, "how long TestSoak goes on")
	soakSeed = flag.Uint64("soak.seed", 1, "the seed of TestSoak")
)

const (
	soakPeople   = 500 // at once
	soakRounds   = 4   // at most, while each leaves more memory resident
	soakProgress = 10 * time.Second
)

// soak is an engine with a crowd that comes and goes.
type soak struct {
	*siege
	until time.Time

	lives, messages, stalls, deaths atomic.Int64
}

// TestSoak has a crowd join, chat, stall and die by every means. When it has
// gone, everything that a process can lose is where it was.
func TestSoak(t *testing.T) {
	s := &soak{siege: &siege{seed: *soakSeed, known: map[*Conn]bool{}, forget: true}}
	s.server = serve(t, Config{Loops: 2, Logger: zap.NewNop(), SendBytesHigh: 256 << 10, SendBytesMax: mib}, s.counting(s.chat()))
	// The first crowd brings what stays for good: the runtime's threads and
	// stacks. The second is measured.
	s.crowd(min(*soakFor/4, 30*time.Second))
	before := s.take()
	var after holding
	for round := 1; ; round++ {
		s.crowd(*soakFor)
		after = s.take()
		for tries := 0; tries < 50 && !after.back(before); tries++ {
			after = s.take()
		}
		fmt.Fprint(os.Stderr, table(before, after))
		if after.resides(before) || round == soakRounds {
			break
		}
		before.rss = after.rss // more came at once than ever before: does it rise again?
	}
	if !after.back(before) {
		t.Errorf("not where it was: %+v, now %+v", before, after)
	}
	if st := s.Stats(); st.Dropped == 0 && *soakFor >= time.Minute || s.messages.Load() == 0 || s.stalls.Load() == 0 || s.deaths.Load() == 0 {
		t.Errorf("too quiet: %+v, %d messages, %d stalls, %d deaths", st, s.messages.Load(), s.stalls.Load(), s.deaths.Load())
	}
	for _, what := range s.broken {
		t.Error(what)
	}
}

// chat echoes, tells everybody, or floods the one who asks; a few functions run
// off the loop.
func (s *soak) chat() Handler {
	return Handler{OnMessage: func(c *Conn, m Message) {
		policies := [...]Policy{PolicyClose, PolicyDropNewest, PolicyDropOldest, PolicyReplace}
		switch {
		case len(m.Data) == 0:
			_ = c.Send(m)
		case m.Data[0] == 'b': // to all
			_ = s.Broadcast(Message{Type: m.Type, Data: m.Data, Policy: policies[1+int(m.Data[1])%3], Key: "7"})
		case m.Data[0] == 'f': // more than a kernel holds
			for i := range 100 {
				if c.Send(Message{Data: soakChunk, Policy: policies[int(m.Data[1])%4], Key: fmt.Sprint(i % 3)}) != nil {
					return
				}
			}
		case m.Data[0] == 'p':
			panic("on purpose")
		case m.Data[0] == 'c':
			_ = c.Close(4000, "as asked")
		default:
			_ = c.Send(m)
		}
	}}
}

var soakChunk = make([]byte, 64<<10)

// crowd lets people live for so long.
func (s *soak) crowd(d time.Duration) {
	s.until = time.Now().Add(d)
	over := make(chan struct{})
	var watching, living sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(soakProgress)
		defer tick.Stop()
		for {
			select {
			case <-over:
				return
			case <-tick.C:
				st := s.Stats()
				fmt.Fprintf(os.Stderr, "soak: %4.0f s left, %3d here, %7d lives, %8d messages, %6d stalls, %7d dropped, %6d replaced, %d MiB\n",
					time.Until(s.until).Seconds(), st.Open, s.lives.Load(), s.messages.Load(), s.stalls.Load(), st.Dropped, st.Replaced, resident()>>20)
			}
		}
	})
	for i := range soakPeople {
		living.Go(func() {
			r := rand.New(rand.NewPCG(s.seed, uint64(i)))
			for time.Now().Before(s.until) {
				if err := s.live(r); err != nil {
					s.t.Errorf("person %d: %v", i, err)
					return
				}
			}
		})
	}
	living.Wait()
	close(over)
	watching.Wait()
	s.leave()
	s.serves()
	s.calm()
}

// live is one connection: it comes, does a few things, and ends somehow.
func (s *soak) live(r *rand.Rand) error {
	from := &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+r.IntN(8)))}
	nc, err := (&net.Dialer{LocalAddr: from}).Dial("tcp", s.Addr().String())
	if err != nil {
		return err
	}
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(patience))
	s.lives.Add(1)
	if r.IntN(20) == 0 { // never gets in
		_, _ = io.WriteString(nc, upgradeHead()[:r.IntN(100)])
		return s.die(r, nc, nil)
	}
	c := newClient(s.t, nc, &codec.Options{Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100,
		MessageBytesMax: 1 << 30, FragmentsMax: 1 << 20, Host: "localhost", Target: "/"})
	c.buf = c.buf[:4096]
	c.session.Start(&c.env)
	if _, err := nc.Write(c.env.Out); err != nil {
		return err
	}
	c.env.Out = c.env.Out[:0]
	if ev, err := c.next(); err != nil || ev.Kind != codec.Open {
		return fmt.Errorf("a handshake: %+v %w", ev, err)
	}
	for range r.IntN(20) {
		if over, err := s.act(r, c); over || err != nil {
			return err
		}
	}
	return s.die(r, nc, c)
}

// act sends something and reads until the answer has come.
func (s *soak) act(r *rand.Rand, c *client) (over bool, err error) {
	what := byte('e')
	switch n := r.IntN(1000); {
	case n < 3:
		what = 'b'
	case n < 13:
		what = 'f'
	case n < 15:
		what = 'p'
	case n < 20:
		what = 'c'
	}
	payload := make([]byte, 10+r.IntN(1<<r.IntN(14)))
	payload[0], payload[1] = what, byte(r.IntN(4))
	binary.BigEndian.PutUint64(payload[2:], r.Uint64())
	if what == 'b' {
		payload = payload[:10]
	}
	out, err := c.session.Encode(&c.env, nil, protocol.OpBinary, payload, false)
	if err != nil {
		return true, err
	}
	if _, err := c.Write(out); err != nil {
		return true, cutOff(err)
	}
	s.messages.Add(1)
	if what == 'f' && r.IntN(2) == 0 { // asks for much, and reads nothing: until dying, or another time
		s.stalls.Add(1)
		return false, nil
	}
	for what == 'e' {
		ev, err := c.next()
		switch {
		case err != nil:
			return true, cutOff(err)
		case ev.Kind == codec.Close && (c.env.Closed.Code == protocol.CloseTryAgainLater || c.env.Closed.Code == 4000 || c.env.Closed.Code == protocol.CloseInternalError):
			return true, nil
		case ev.Kind == codec.Close:
			return true, c.env.Closed
		case ev.Kind == codec.Message && string(ev.Data) == string(payload):
			return false, nil
		}
	}
	return false, nil
}

// cutOff passes over what a connection's end looks like, but not over silence.
func cutOff(err error) error {
	var late net.Error
	if errors.As(err, &late) && late.Timeout() {
		return err
	}
	return nil
}

// die ends a connection by one of many means. c is nil before the handshake.
func (s *soak) die(r *rand.Rand, nc net.Conn, c *client) error {
	s.deaths.Add(1)
	switch r.IntN(6) {
	case 0:
		return nil // FIN, or a reset if something is unread
	case 1:
		abort(nc)
		return nil
	case 2:
		_ = nc.(*net.TCPConn).CloseWrite()
	case 3:
		_, _ = nc.Write([]byte{0xff, 0xff, 0, 0, '\r', '\n', '\r', '\n'})
	case 4: // in mid-frame
		_, _ = io.WriteString(nc, announcement(0x82, 1<<20)+strings.Repeat("x", r.IntN(10_000)))
		return nil
	default:
		if c == nil {
			return nil
		}
		c.session.Close(&c.env, protocol.CloseNormal, "")
		_, _ = nc.Write(c.env.Out)
	}
	_, err := io.Copy(io.Discard, nc)
	return cutOff(err)
}

// holding is what a process holds.
type holding struct {
	goroutines, descriptors, connections, lent int
	queued                                     int64
	heap, rss                                  int
}

// take counts. Nothing may be under way.
func (s *soak) take() holding {
	h := holding{heap: heap(), goroutines: runtime.NumGoroutine(), descriptors: descriptors(), connections: s.Stats().Connections}
	for _, w := range s.running() {
		done := make(chan struct{})
		_ = w.post(post{do: func() { h.lent += w.env.Buffers.Lent(); close(done) }})
		<-done
		w.inbox.mu.Lock()
		h.queued += w.inbox.bytes.Load()
		w.inbox.mu.Unlock()
	}
	g := newGauge()
	_ = g.rise()
	h.rss = g.base
	return h
}

// What may be left of a soak: the runtime's own memory is never quite the same.
const (
	soakHeapSlack = heapSlack
	soakRSSSlack  = 16 << 20
)

func (h holding) back(to holding) bool {
	return h.goroutines <= to.goroutines && h.descriptors <= to.descriptors && h.connections == 0 && h.lent == 0 && h.queued == 0 &&
		h.heap <= to.heap+soakHeapSlack && h.resides(to)
}

// resides reports whether no more memory is resident than was. The crowd's
// largest moment differs from round to round, and what it took then the race
// detector never gives back: only what rises in every round is lost.
func (h holding) resides(to holding) bool { return h.rss <= to.rss+soakRSSSlack*raceFactor }

func table(a, b holding) string {
	var out strings.Builder
	fmt.Fprintf(&out, "soak: %-20s %12s %12s\n", "", "before", "after")
	row := func(name string, a, b any) { fmt.Fprintf(&out, "soak: %-20s %12v %12v\n", name, a, b) }
	row("goroutines", a.goroutines, b.goroutines)
	row("descriptors", a.descriptors, b.descriptors)
	row("connections", a.connections, b.connections)
	row("buffers lent", a.lent, b.lent)
	row("inbox bytes", a.queued, b.queued)
	row("heap KiB", a.heap>>10, b.heap>>10)
	row("resident KiB", a.rss>>10, b.rss>>10)
	return out.String()
}
