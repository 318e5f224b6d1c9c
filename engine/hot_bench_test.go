package engine

import (
	"io"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sockmill/sockmill/engine/internal/loop"
	"github.com/sockmill/sockmill/protocol"
)

// nowhere is a kernel that takes everything at once.
type nowhere struct{}

func (nowhere) Send(_ int, b []byte) (int, unix.Errno) { return len(b), 0 }
func (nowhere) SendVec(_ int, pieces [][]byte) (n int, _ unix.Errno) {
	for _, b := range pieces {
		n += len(b)
	}
	return n, 0
}
func (nowhere) ResetOnClose(int)                    {}
func (nowhere) Shutdown(int) error                  { return nil }
func (nowhere) HasInput(int) bool                   { return false }
func (nowhere) EndInput(int)                        {}
func (nowhere) SetReading(*loop.Socket, bool) error { return nil }
func (nowhere) Watch(*loop.Socket) error            { return nil }
func (nowhere) Close(*loop.Socket)                  {}
func (nowhere) Dup(*loop.Socket) (int, error)       { return 0, nil }

// BenchmarkTurn is the engine's part of an echo, from the read buffer to the
// write, without the kernel and the poller. One operation is one message.
func BenchmarkTurn(b *testing.B) {
	for name, c := range map[string]struct {
		size, batch int
		timings     bool
	}{
		"128x1": {128, 1, false}, "128x32": {128, 32, false}, "16KiBx4": {16 << 10, 4, false},
		"128x1-timings": {128, 1, true}, "128x32-timings": {128, 32, true},
	} {
		b.Run(name, func(b *testing.B) {
			e, err := New(Config{Loops: 1, Timings: c.timings}, Handler{OnMessage: echo})
			if err != nil {
				b.Fatal(err)
			}
			var w *worker
			l := loop.Simulate(nowhere{}, io.Discard, func(l *loop.Loop) loop.Driver { w = newWorker(e, 0); w.loop = l; return w })
			l.SetOn(true)
			conn, err := newConn(e.main, simNetConn{}, nil)
			if err != nil {
				b.Fatal(err)
			}
			conn.pass, _ = e.gate.Enter(simNetConn{}.client(), 0)
			l.Opened(&conn.sock, (*owner)(conn), 1)
			l.Readable(&conn.sock, []byte(upgradeHead()))
			var batch []byte
			for range c.batch {
				h := protocol.Header{Fin: true, Opcode: protocol.OpText, Masked: true, Length: int64(c.size)} // masked by zeros: it stays as it is
				batch = append(protocol.AppendHeader(batch, h), strings.Repeat("x", c.size)...)
			}
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N / c.batch {
				for in := batch; len(in) > 0; {
					piece := in[:min(len(in), loop.ReadBytesMax)]
					in = in[len(piece):]
					l.Readable(&conn.sock, piece)
					for w.turn.later.len() > 0 { // the machine was busy, and the turn took too long
						w.Woken()
					}
				}
			}
			b.StopTimer()
			if n := conn.Stats().MessagesOut; int(n) != b.N/c.batch*c.batch {
				b.Fatalf("%d of %d messages", n, b.N)
			}
		})
	}
}
