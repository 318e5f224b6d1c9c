package engine

import (
	"io"
	"runtime"
	"testing"

	"github.com/sockmill/sockmill/protocol"
)

// TestHotPathAllocatesNothing echoes through a real loop and socket: what is
// left is less than one allocation in a hundred messages, all goroutines of
// the process together.
func TestHotPathAllocatesNothing(t *testing.T) {
	for _, c := range []struct {
		name            string
		size, pipelined int
	}{{"128 B", 128, 1}, {"128 B, 32 in flight", 128, 32}, {"16 KiB", 16 << 10, 4}} {
		t.Run(c.name, func(t *testing.T) {
			s := serve(t, Config{Loops: 1}, Handler{OnMessage: echo})
			cl := s.dial("/", nil)
			var batch []byte
			answer := 0
			for range c.pipelined {
				batch, _ = cl.session.Encode(&cl.env, batch, protocol.OpText, make([]byte, c.size), false)
				answer += len(protocol.AppendHeader(nil, protocol.Header{Fin: true, Opcode: protocol.OpText, Length: int64(c.size)})) + c.size
			}
			buf := make([]byte, answer)
			round := func() {
				if _, err := cl.Write(batch); err != nil {
					t.Fatal(err)
				}
				if _, err := io.ReadFull(cl, buf); err != nil {
					t.Fatal(err)
				}
			}
			allocatesNothing(t, c.pipelined, round)
		})
	}
}

// allocatesNothing runs rounds of so many messages each, warm, and holds the
// whole process to less than one allocation in a hundred of them. What a busy
// machine makes the runtime or the watchdog allocate meanwhile does not come
// every time; what a message costs does.
func allocatesNothing(t *testing.T, messages int, round func()) {
	t.Helper()
	for range 50 {
		round()
	}
	rounds := 300 + 2700/messages
	var n uint64
	for range 5 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range rounds {
			round()
		}
		runtime.ReadMemStats(&after)
		if n = after.Mallocs - before.Mallocs; n*100 <= uint64(rounds*messages) {
			return
		}
	}
	t.Errorf("%d allocations for %d messages", n, rounds*messages)
}

// TestSendFromElsewhereAllocatesNothing measures the off-loop path alone.
func TestSendFromElsewhereAllocatesNothing(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{OnOpen: func(c *Conn) { conns <- c }})
	cl := s.dial("/", nil)
	c := <-conns
	data := make([]byte, 128)
	buf := make([]byte, 130)
	round := func() {
		if err := c.SendBinary(data); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(cl, buf); err != nil {
			t.Fatal(err)
		}
	}
	allocatesNothing(t, 1, round)
}
