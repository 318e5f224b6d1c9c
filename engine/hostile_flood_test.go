package engine

import (
	"encoding/binary"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

const floodHigh = 128 << 10

// floodAttacks ask for more than they take.
var floodAttacks = []hostile{
	{name: "10,000 pings, pongs unread", ceiling: 48, cfg: Config{SendBytesHigh: floodHigh, WriteStallTimeout: NoLimit, ControlFramesPerSecond: NoLimit}, attack: pings},
	{name: "300 MiB of echo unread", ceiling: 48, cfg: Config{SendBytesHigh: floodHigh, WriteStallTimeout: NoLimit}, attack: unread},
	{name: "500 connects and resets", ceiling: 48, attack: resets},
}

// of is the server's end of c.
func (s *siege) of(c *client) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.known {
		if conn.RemoteAddr().String() == c.LocalAddr().String() {
			return conn
		}
	}
	s.t.Fatal("a connection that OnOpen was not told of")
	return nil
}

// pushedBack waits until c does not take what waits for it, and checks that
// this is no more than a batch of input above the watermark.
func (s *siege) pushedBack(c *client) {
	s.t.Helper()
	conn := s.of(c)
	s.await("pushing back", func() (back bool) {
		s.onLoop(conn, func() {
			// After a pause the kernel may still take some: what waits may be
			// less than the watermark, until it is the lower one.
			if back = conn.in.halted && conn.out.queue.Bytes() > conn.ep.SendBytesLow; back {
				s.bounded(conn)
			}
		})
		return back
	})
}

// bounded checks, on its loop, what a connection that is pushed back holds.
func (s *siege) bounded(conn *Conn) {
	held := conn.out.queue.Holds()
	held += cap(conn.input().parked)
	if conn.out.queue.Bytes() > floodHigh+2*corkBytesMax || held > 4*floodHigh {
		s.t.Errorf("%d bytes wait, in %d bytes of memory", conn.out.queue.Bytes(), held)
	}
}

// pings are sent on, 10,000 at a time, until the server reads no more. Then
// every pong comes, in order, and behind them the echo of a last message.
func pings(s *siege) {
	for range s.n(1, 10) {
		c := s.open()
		enough, sent := make(chan struct{}), make(chan uint32, 1)
		go func() {
			writer := newClient(s.t, c.Conn, &codec.Options{Role: codec.Client})
			var one [125]byte
			n, out := uint32(0), []byte(nil)
			defer func() { sent <- n }()
			for more := true; more; {
				for range 10_000 {
					n++
					binary.BigEndian.PutUint32(one[:], n)
					out, _ = writer.session.Encode(&writer.env, out, protocol.OpPing, one[:], false)
				}
				if _, err := c.Write(out); err != nil {
					s.t.Errorf("pinging: %v", err)
					return
				}
				out = out[:0]
				select {
				case <-enough:
					more = false
				default:
				}
			}
			writer.send(protocol.OpText, "end")
		}()
		s.pushedBack(c)
		s.serves()
		s.pushedBack(c) // still
		close(enough)
		for i := uint32(1); ; i++ {
			ev, err := c.next()
			if err == nil && ev.Kind == codec.Message {
				if n := <-sent; i != n+1 {
					s.t.Errorf("%d pongs for %d pings", i-1, n)
				}
				break
			}
			if err != nil || ev.Kind != codec.Pong || binary.BigEndian.Uint32(ev.Data) != i {
				s.t.Fatalf("instead of pong %d: %+v %v", i, ev.Kind, err)
			}
		}
		c.close(protocol.CloseNormal, "")
		_ = c.closed()
	}
}

// unread wants 300 MiB of echo and reads nothing, while another client goes on
// as if nothing were. In the long form the first of many reads in the end, and
// gets everything in order.
func unread(s *siege) {
	const message, total = 64 << 10, 300 << 20 / (64 << 10)
	other := s.open()
	latency := func() time.Duration { // the median
		var took []time.Duration
		for range 200 {
			begun := time.Now()
			other.send(protocol.OpText, "x")
			other.expect("x")
			took = append(took, time.Since(begun))
		}
		slices.Sort(took)
		return took[len(took)/2]
	}
	alone := latency()
	var writing sync.WaitGroup
	var through atomic.Int32
	var greedy []*client
	for range s.n(2, 20) {
		c := s.open()
		greedy = append(greedy, c)
		header := protocol.AppendHeader(nil, protocol.Header{Fin: true, Opcode: protocol.OpBinary, Masked: true, Length: message})
		writing.Go(func() {
			frame := slices.Concat(header, make([]byte, message))
			for i := range total {
				binary.BigEndian.PutUint32(frame[len(header):], uint32(i))
				if _, err := c.Write(frame); err != nil {
					return // reset
				}
			}
			through.Add(1)
		})
	}
	for _, c := range greedy {
		s.pushedBack(c)
	}
	if with := latency(); with > 20*alone+20*time.Millisecond {
		s.t.Errorf("a message to another client took %v, and %v alone", with, alone)
	}
	for _, c := range greedy {
		s.pushedBack(c)
	}
	if through.Load() > 0 {
		s.t.Error("the server took 300 MiB without a reader")
	}
	for i := range s.n(0, total) {
		if ev, err := greedy[0].next(); err != nil || ev.Kind != codec.Message || len(ev.Data) != message || binary.BigEndian.Uint32(ev.Data) != uint32(i) {
			s.t.Fatalf("instead of message %d: %v, %d bytes, %v", i, ev.Kind, len(ev.Data), err)
		}
	}
	for _, c := range greedy {
		abort(c.Conn)
	}
	writing.Wait()
}

// resets connects 500 times at once, says more or less, and resets.
func resets(s *siege) {
	for range s.n(1, 40) {
		var all sync.WaitGroup
		start := make(chan struct{})
		for i := range 500 {
			words := upgradeHead() + strings.Repeat("\x82\x85\x00\x00\x00\x00hello", 100)
			words = words[:s.rand.IntN(len(words))*(i%3)/2]
			all.Go(func() {
				<-start
				nc := s.connect()
				_, _ = io.WriteString(nc, words)
				abort(nc)
			})
		}
		close(start)
		all.Wait()
		s.mu.Lock()
		s.peers = nil
		s.mu.Unlock()
	}
}
