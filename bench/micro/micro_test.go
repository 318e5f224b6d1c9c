package micro

import (
	"context"
	"net"
	"testing"

	"github.com/sockmill/sockmill/engine"
)

// subscribers is how many connections a broadcast reaches.
const subscribers = 100

// Each scenario is prepared and then run for n operations.
var scenarios = map[string]func(testing.TB) (run func(n int)){
	"Echo128":           func(tb testing.TB) func(int) { return echo(tb, 128, 1) },
	"Echo128Pipelined":  func(tb testing.TB) func(int) { return echo(tb, 128, 32) },
	"Echo16KiB":         func(tb testing.TB) func(int) { return echo(tb, 16<<10, 1) },
	"SendFromElsewhere": sendFromElsewhere,
	"Broadcast":         broadcast,
	"Handshake":         handshake,
}

func TestScenarios(t *testing.T) {
	for name, prepare := range scenarios {
		t.Run(name, func(t *testing.T) { prepare(t)(1200) })
	}
}

// One connection, one message under way: a round trip.
func BenchmarkEcho128(b *testing.B) { measure(b, 0) }

// One connection, 32 messages under way.
func BenchmarkEcho128Pipelined(b *testing.B) { measure(b, 128) }

// One connection, one message under way: a round trip of 16 KiB each way.
func BenchmarkEcho16KiB(b *testing.B) { measure(b, 16<<10) }

// One connection, 128 bytes a message, sent by a goroutine that is not the loop.
func BenchmarkSendFromElsewhere(b *testing.B) { measure(b, 128) }

// 128 bytes to 100 connections; done when the last one has them.
func BenchmarkBroadcast(b *testing.B) { measure(b, 128*subscribers) }

// Connect, upgrade, reset: one after the other. About ten of the allocations are
// the client's.
func BenchmarkHandshake(b *testing.B) { measure(b, 0) }

// measure runs the scenario that the benchmark is named after.
func measure(b *testing.B, bytes int64) {
	run := scenarios[b.Name()[len("Benchmark"):]](b)
	b.SetBytes(bytes)
	b.ReportAllocs()
	b.ResetTimer()
	run(b.N)
}

// serve runs an engine with one loop until the test ends. It never pings, so
// that nothing but the scenario's messages flows.
func serve(tb testing.TB, h engine.Handler) *engine.Engine {
	tb.Helper()
	e, err := engine.New(engine.Config{Addr: "ws://127.0.0.1:0", Loops: 1, PingInterval: engine.NoLimit}, h)
	if err != nil {
		tb.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
	return e
}

func echo(tb testing.TB, size, inFlight int) func(int) {
	e := serve(tb, engine.Handler{OnMessage: func(c *engine.Conn, m engine.Message) {
		if err := c.Send(m); err != nil {
			tb.Error(err)
		}
	}})
	c, _ := dial(tb, e.Addr())
	s := newStream(size, inFlight)
	return func(n int) { c.echo(s, n) }
}

func sendFromElsewhere(tb testing.TB) func(int) {
	const (
		size = 128
		lead = 128 // the sender is at most eight leads ahead, so that nothing is refused
	)
	opened := make(chan *engine.Conn, 1)
	e := serve(tb, engine.Handler{OnOpen: func(c *engine.Conn) { opened <- c }})
	c, _ := dial(tb, e.Addr())
	server := <-opened
	s := newStream(size, lead)
	messages := make([]engine.Message, lead)
	for i := range messages {
		messages[i] = engine.Message{Type: engine.Binary, Data: payload(size, i)}
	}
	return func(n int) {
		leads := make(chan struct{}, 8)
		for range cap(leads) {
			leads <- struct{}{}
		}
		go func() {
			for i := range n {
				if i%lead == 0 {
					<-leads
				}
				if err := server.Send(messages[i%lead]); err != nil {
					tb.Error(err)
					_ = c.Close() // ends the reading
					return
				}
			}
		}()
		given := 0
		c.follow(s, n, func(received int) {
			for ; given < received/lead; given++ {
				leads <- struct{}{}
			}
		})
	}
}

func broadcast(tb testing.TB) func(int) {
	e := serve(tb, engine.Handler{})
	clients := make([]*client, subscribers)
	for i := range clients {
		clients[i], _ = dial(tb, e.Addr())
	}
	s := newStream(128, 1)
	m := engine.Message{Type: engine.Binary, Data: payload(128, 0)}
	return func(n int) {
		for range n {
			if err := e.Broadcast(m); err != nil {
				tb.Fatal(err)
			}
			for _, c := range clients {
				c.receive(s.plain[:s.plainOne])
			}
		}
	}
}

func handshake(tb testing.TB) func(int) {
	e := serve(tb, engine.Handler{})
	_, answer := dial(tb, e.Addr())
	addr := e.Addr().(*net.TCPAddr)
	c := &client{tb: tb}
	return func(n int) {
		var err error
		for range n {
			if c.TCPConn, err = net.DialTCP("tcp", nil, addr); err != nil {
				tb.Fatal(err)
			}
			c.write(request)
			c.receive(answer)
			_ = c.SetLinger(0) // RST: no port stays in TIME_WAIT
			_ = c.Close()
		}
	}
}
