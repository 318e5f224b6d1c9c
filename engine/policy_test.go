package engine

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// congest opens a connection whose peer does not read and fills the kernel, so
// that whatever is sent next waits. It returns how many messages did so.
func congest(t *testing.T, s *server, conns <-chan *Conn) (*client, *Conn, int) {
	t.Helper()
	cl := s.dial("/", nil)
	c := <-conns
	filler := 0
	s.onLoop(c, func() {
		for !c.congested {
			if err := c.send(outgoing{op: protocol.OpBinary, policy: PolicyClose, data: make([]byte, 64<<10)}); err != nil {
				t.Error(err)
				return
			}
			filler++
			c.flush()
		}
	})
	return cl, c, filler
}

// onLoop runs f on the connection's loop and waits for it.
func (s *server) onLoop(c *Conn, f func()) {
	done := make(chan struct{})
	if err := c.w.post(post{do: func() { f(); close(done) }}); err != nil {
		s.t.Fatal(err)
	}
	<-done
}

// received reads n messages and returns those that are not filler.
func received(cl *client, filler int) (texts []string) {
	for range filler {
		if op, _ := cl.receive(); op != protocol.OpBinary {
			cl.t.Fatal("a message overtook what was sent before")
		}
	}
	for {
		op, m := cl.receive()
		if op == protocol.OpText && m == "end" {
			return texts
		}
		texts = append(texts, m)
	}
}

func TestPolicies(t *testing.T) {
	text := func(i int) string { return fmt.Sprintf("%03d%s", i, strings.Repeat("x", 997)) }
	for _, from := range []string{"loop", "elsewhere"} {
		for _, tt := range []struct {
			policy   Policy
			want     []int // which of 0…99 arrive
			refused  int
			dropped  uint64
			replaced uint64
		}{
			{PolicyDropNewest, span(0, 10), 90, 90, 0},
			{PolicyDropOldest, span(90, 100), 0, 90, 0},
			{PolicyReplace, []int{96, 97, 98, 99}, 0, 0, 96}, // four keys
		} {
			t.Run(fmt.Sprint(tt.policy, " ", from), func(t *testing.T) {
				conns := make(chan *Conn, 1)
				// High is far above: nothing here is about pausing.
				s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
				cl, c, filler := congest(t, s, conns)
				refused := 0
				send := func() {
					for i := range 100 {
						err := c.Send(Message{Type: Text, Data: []byte(text(i)), Policy: tt.policy, Key: uint64(i%4) + 1})
						if errors.Is(err, ErrBackpressure) {
							refused++
						} else if err != nil {
							t.Error(err)
						}
					}
				}
				s.onLoop(c, func() { // from now on, room for ten messages
					c.e.cfg.SendBytesMax = c.queue.bytes + 10*(len(text(0))+4+removableOverhead)
					if from == "loop" {
						send()
					}
				})
				if from == "elsewhere" {
					send()
				}
				s.onLoop(c, func() {
					c.e.cfg.SendBytesMax = 1 << 30
					_ = c.send(outgoing{op: protocol.OpText, policy: PolicyClose, data: []byte("end")})
				})
				before := c.Stats()
				got := received(cl, filler)
				var want []string
				for _, i := range tt.want {
					want = append(want, text(i))
				}
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Errorf("received %d messages, want %d", len(got), len(want))
				}
				st := c.Stats()
				if from == "loop" && refused != tt.refused {
					t.Errorf("%d refused, want %d", refused, tt.refused)
				}
				if st.Dropped != tt.dropped || st.Replaced != tt.replaced || int(st.MessagesOut) != filler+len(want)+1 || before.Dropped != st.Dropped {
					t.Errorf("%+v, want %d dropped, %d replaced, %d out", st, tt.dropped, tt.replaced, filler+len(want)+1)
				}
				s.await("an empty queue", func() bool { return c.queued.Load() == 0 })
				_ = cl.Conn.Close()
				_ = s.end()
				s.balanced()
			})
		}
	}
}

func span(from, to int) (s []int) {
	for i := from; i < to; i++ {
		s = append(s, i)
	}
	return s
}

// TestNotSentBytesMax shows how many bytes stand before a replaced key: the
// latest position is behind what the kernel took, and that is what
// NotSentBytesMax bounds.
func TestNotSentBytesMax(t *testing.T) {
	before := func(limit int) (bytes int) {
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: 1, NotSentBytesMax: limit, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
		small := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error { // a window of a few KiB
			return c.Control(func(fd uintptr) { _ = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 8<<10) })
		}}
		nc, err := small.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		_ = nc.SetDeadline(time.Now().Add(patience))
		cl, err := s.open(nc, "/", nil)
		if err != nil {
			t.Fatal(err)
		}
		c := <-conns
		s.onLoop(c, func() {
			for i := 0; !c.congested || i%100 != 0; i++ { // positions of player 7, of which only the latest matters
				_ = c.Send(Message{Type: Text, Data: fmt.Appendf(nil, "%01000d", i), Policy: PolicyReplace, Key: 7})
				c.flush()
			}
			_ = c.Send(Message{Type: Text, Data: []byte("latest"), Policy: PolicyReplace, Key: 7})
		})
		for {
			_, m := cl.receive()
			if m == "latest" {
				return bytes
			}
			bytes += len(m)
		}
	}
	bounded, unbounded := before(16<<10), before(NoLimit)
	t.Logf("%d bytes with NotSentBytesMax of 16 KiB, %d without", bounded, unbounded)
	if bounded > 100<<10 || unbounded < 4*bounded {
		t.Errorf("%d bytes stand before the latest message with NotSentBytesMax of 16 KiB, %d without", bounded, unbounded)
	}
}

// TestReplaceAmongDroppable: the latest of a key finds its place although
// messages that may be dropped fill the queue.
func TestReplaceAmongDroppable(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 30, SendBytesMax: 1 << 30}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	cl, c, filler := congest(t, s, conns)
	s.onLoop(c, func() {
		c.e.cfg.SendBytesMax = c.queue.bytes + 10_000
		for range 100 {
			_ = c.Send(Message{Type: Text, Data: make([]byte, 1000), Policy: PolicyDropOldest})
		}
		for i := range 100 {
			if err := c.Send(Message{Type: Text, Data: fmt.Append(nil, "typing ", i), Policy: PolicyReplace, Key: 1}); err != nil {
				t.Error(err)
			}
		}
		c.e.cfg.SendBytesMax = 1 << 30
		_ = c.send(outgoing{op: protocol.OpText, policy: PolicyClose, data: []byte("end")})
	})
	got := received(cl, filler)
	if len(got) == 0 || got[len(got)-1] != "typing 99" || c.Stats().Replaced != 99 {
		t.Errorf("received %d messages, %+v", len(got), c.Stats())
	}
}

// TestPolicyCloseDiscards: whole messages that wait are discarded and counted,
// one partly written is finished, and 1013 follows at once.
func TestPolicyCloseDiscards(t *testing.T) {
	conns, ended := make(chan *Conn, 1), make(chan *CloseError, 1)
	s := serve(t, Config{Loops: 1, SendBytesHigh: 1 << 20, SendBytesMax: 1 << 20, CloseTimeout: patience}, Handler{
		OnOpen:  func(c *Conn) { conns <- c },
		OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	})
	cl, c, filler := congest(t, s, conns)
	sent := 0
	for {
		err := c.SendText(strings.Repeat("y", 10_000))
		if errors.Is(err, ErrClosed) {
			break
		}
		if sent++; errors.Is(err, ErrBackpressure) {
			break
		}
	}
	arrived := 0
	for {
		ev, err := cl.next()
		if err != nil {
			t.Fatal(err)
		}
		if ev.Kind == codec.Close {
			if cl.env.Closed.Code != protocol.CloseTryAgainLater {
				t.Errorf("closed with %v", cl.env.Closed)
			}
			break
		}
		arrived++
	}
	if e := <-ended; e.Code != protocol.CloseTryAgainLater || !errors.Is(e, ErrBackpressure) {
		t.Errorf("OnClose: %v", e)
	}
	st := c.Stats()
	if arrived >= filler+sent || int(st.Dropped) != filler+sent-arrived || int(st.MessagesOut) != arrived {
		t.Errorf("%d sent, %d arrived, %+v", filler+sent, arrived, st)
	}
}

// TestBackpressureIsTold: OnBackpressure and OnDrain alternate.
func TestBackpressureIsTold(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		told := make(chan string, 100)
		conns := make(chan *Conn, 1)
		s := serve(t, Config{Loops: n, SendBytesHigh: 100_000}, Handler{
			OnOpen:         func(c *Conn) { conns <- c },
			OnBackpressure: func(*Conn) { told <- "backpressure" },
			OnDrain:        func(*Conn) { told <- "drain" },
		})
		cl := s.dial("/", nil)
		c := <-conns
		for range 3 {
			messages := 0
			for len(told) == 0 {
				s.onLoop(c, func() {
					if err := c.SendBinary(make([]byte, 10_000)); err != nil {
						t.Error(err)
					}
				})
				messages++
			}
			for range messages {
				cl.receive()
			}
			if a, b := <-told, <-told; a != "backpressure" || b != "drain" {
				t.Fatalf("told %s, %s", a, b)
			}
		}
		if len(told) != 0 {
			t.Errorf("and told %s", <-told)
		}
	})
}

// TestPauseReading: while the program pauses, nothing is delivered; afterwards
// everything is, in order, and several reasons do not cancel each other.
func TestPauseReading(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		conns := make(chan *Conn, 1)
		got := make(chan string, 100)
		s := serve(t, Config{Loops: n}, Handler{
			OnOpen: func(c *Conn) { conns <- c },
			OnMessage: func(c *Conn, m Message) {
				got <- m.Text()
				if m.Text() == "pause" { // the rest of the batch waits
					if err := c.PauseReading(); err != nil {
						t.Error(err)
					}
				}
			},
		})
		cl := s.dial("/", nil)
		c := <-conns
		for _, m := range []string{"a", "pause", "b", "c"} {
			cl.env.Out, _ = cl.session.Encode(&cl.env, cl.env.Out, protocol.OpText, []byte(m), false)
		}
		cl.flush()
		if a, b := <-got, <-got; a != "a" || b != "pause" {
			t.Fatalf("%s %s", a, b)
		}
		cl.send(protocol.OpText, "d")
		s.onLoop(c, func() { // another reason comes and goes
			c.pause(pausedBacklog)
			c.unpause(pausedBacklog)
		})
		other := s.dial("/", nil)
		other.send(protocol.OpText, "x")
		if m := <-got; m != "x" {
			t.Fatalf("delivered %q while paused", m)
		}
		if err := c.ResumeReading(); err != nil {
			t.Error(err)
		}
		for _, want := range []string{"b", "c", "d"} {
			if m := <-got; m != want {
				t.Fatalf("delivered %q, want %q", m, want)
			}
		}
		s.onLoop(c, func() { c.pause(pausedUser) })
		cl.close(1000, "") // a close while paused is seen after the resume
		_ = c.ResumeReading()
		_ = cl.closed()
	})
}

// TestWriteStall: a backlog without any progress is cut.
func TestWriteStall(t *testing.T) {
	conns, ended := make(chan *Conn, 1), make(chan *CloseError, 1)
	s := serve(t, Config{Loops: 1, WriteStallTimeout: 30 * time.Millisecond}, Handler{
		OnOpen:  func(c *Conn) { conns <- c },
		OnClose: func(_ *Conn, e *CloseError) { ended <- e },
	})
	_, _, _ = congest(t, s, conns)
	if e := <-ended; e.Code != protocol.CloseAbnormal || !errors.Is(e, ErrTimeout) {
		t.Errorf("OnClose: %v", e)
	}
	s.await("it to be gone", func() bool { return s.Stats().Connections == 0 })
	_ = s.end()
	s.balanced()
}

// TestQueueModel runs a queue against a plain list: what leaves is what was
// put, less what was removed, and the accounts balance.
func TestQueueModel(t *testing.T) {
	type item struct {
		frame     []byte
		removable bool
		key       uint64
		written   int
	}
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 7))
		var env codec.Env
		var o codec.Options
		session := codec.NewSession(&o)
		q := new(queue)
		held := new(broadcast)
		held.refs.Store(1)
		var model []item
		var out, want []byte
		n := 0
		frame := func() []byte {
			n++
			p := binary.AppendUvarint(nil, uint64(n))
			p = append(p, make([]byte, r.IntN(1+r.IntN(3000)))...)
			b, _ := session.Encode(&env, nil, protocol.OpBinary, p, false)
			return b
		}
		pooled := func(f []byte) []byte { return append(env.Buffers.Get(len(f)), f...) }
		advance := func(k int) {
			for k > 0 {
				left := len(model[0].frame) - model[0].written
				take := min(k, left)
				want = append(want, model[0].frame[model[0].written:model[0].written+take]...)
				model[0].written += take
				if k -= take; take == left {
					model = model[1:]
				}
			}
		}
		for range 400 {
			switch r.IntN(6) {
			case 0, 1: // gathered
				f := frame()
				c := q.open(&env.Buffers, len(f))
				c.b = append(c.b, f...)
				q.bytes += len(f)
				model = append(model, item{frame: f})
			case 2: // shared
				f := frame()
				held.refs.Add(1)
				q.add(chunk{b: f, kind: shared, owner: held})
				q.bytes += len(f)
				model = append(model, item{frame: f})
			case 3: // removable, or in the place of one of its key
				f, key := frame(), uint64(r.IntN(4))
				var old *chunk
				if key != 0 {
					old = q.find(key)
				}
				at := -1
				for i, it := range model {
					if it.removable && it.key == key && key != 0 && it.written == 0 {
						at = i
					}
				}
				if (old != nil) != (at >= 0) {
					t.Fatalf("seed %d: found %v, the model %d", seed, old, at)
				}
				if old != nil {
					q.bytes += len(f) - len(old.b)
					env.Buffers.Put(old.b)
					old.b = pooled(f)
					model[at].frame = f
					break
				}
				q.addRemovable(pooled(f), key)
				q.bytes += len(f) + removableOverhead
				model = append(model, item{frame: f, removable: true, key: key})
			case 4:
				removed := q.removeOldest(&env.Buffers)
				at := -1
				for i, it := range model {
					if it.removable && it.written == 0 {
						at = i
						break
					}
				}
				if removed != (at >= 0) {
					t.Fatalf("seed %d: removed %v, the model %d", seed, removed, at)
				}
				if at >= 0 {
					model = append(model[:at:at], model[at+1:]...)
				}
			case 5: // the kernel takes some
				var total int
				pieces := q.pieces(nil)
				for _, p := range pieces {
					total += len(p)
				}
				if total == 0 {
					break
				}
				k := 1 + r.IntN(total)
				left := k
				for _, p := range pieces {
					take := min(left, len(p))
					out = append(out, p[:take]...)
					left -= take
				}
				q.wrote(k, &env.Buffers)
				advance(k)
			}
		}
		if string(out) != string(want) {
			t.Fatalf("seed %d: other bytes left than the model says", seed)
		}
		if r.IntN(2) == 0 { // a policy close: only the rest of the first stays
			whole := len(model)
			if whole > 0 && model[0].written > 0 {
				whole--
				model = model[:1]
			} else {
				model = nil
			}
			if got := q.discard(session, &env.Buffers); got != whole {
				t.Fatalf("seed %d: discarded %d messages, want %d", seed, got, whole)
			}
		}
		for {
			pieces := q.pieces(nil)
			if len(pieces) == 0 {
				break
			}
			k := 0
			for _, p := range pieces {
				k += len(p)
				out = append(out, p...)
			}
			q.wrote(k, &env.Buffers)
			advance(k)
		}
		if string(out) != string(want) || len(model) != 0 || q.bytes != 0 || q.removable != 0 || len(q.keys) != 0 || env.Buffers.Lent() != 0 || held.refs.Load() != 1 {
			t.Fatalf("seed %d: at the end %d bytes, %d removable, %d keys, %d buffers, model %d", seed, q.bytes, q.removable, len(q.keys), env.Buffers.Lent(), len(model))
		}
	}
}
