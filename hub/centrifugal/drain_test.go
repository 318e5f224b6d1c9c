package centrifugal

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/sockmill/sockmill/engine"
)

// draining drains a node whose clock only the test moves. step has it look at the clock, and returns when it has.
func (n *node) draining(ctx context.Context, over time.Duration) (step func(time.Duration), done chan error) {
	ticks := make(chan time.Time)
	n.ticks = func(time.Duration) (<-chan time.Time, func()) { return ticks, func() {} }
	done = make(chan error, 1)
	go func() { done <- n.Drain(ctx, over) }()
	step = func(d time.Duration) {
		n.t.Helper()
		n.move(d)
		for range 2 { // when the second is taken, the first is done
			select {
			case ticks <- time.Time{}:
			case err := <-done:
				done <- err
			case <-time.After(patience):
				n.t.Fatal("Drain does not go on")
			}
		}
	}
	return step, done
}

// Drain closes connections evenly, those without channels first, and lets nobody in.
func TestDrain(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	n := serve(t, users(Config{Hub: spaces(), Logger: zap.New(core)}))
	var idle, busy []*peer
	for i := range 4 {
		busy = append(busy, n.user(formatJSON, fmt.Sprint("busy ", i)).in("plain:a"))
		if i == 0 {
			idle = append(idle, n.dial(formatJSON)) // it has not connected
		} else {
			idle = append(idle, n.user(formatProtobuf, fmt.Sprint("idle ", i)))
		}
	}
	step, done := n.draining(ctx, 8*time.Second)
	step(0)
	r, err := http.NewRequest(http.MethodGet, "http"+strings.TrimPrefix(n.url, "ws"), nil)
	must(t, err)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="} {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	must(t, err)
	must(t, resp.Body.Close())
	if resp.StatusCode != http.StatusServiceUnavailable || resp.Header.Get("Retry-After") != "1" {
		t.Errorf("a new connection is told %v", resp)
	}
	left := func(all []*peer) (n int) {
		for _, p := range all {
			if len(p.closed) == 0 {
				n++
			}
		}
		return n
	}
	step(990 * time.Millisecond)
	if n := left(slices.Concat(idle, busy)); n != 8 {
		t.Fatalf("%d are left before the first is due", n)
	}
	for i := 1; i < 8; i++ {
		step(time.Second)
		want := 8 - i
		until(t, fmt.Sprint(want, " connections"), func() bool { return n.open.Load() == int64(want) && left(slices.Concat(idle, busy)) == want })
		if i <= 4 && left(busy) != 4 {
			t.Error("one with a channel goes before those without")
		}
		if i == 6 { // who is left gets what is published
			n.backend(APIConfig{}).call("publish", `{"channel":"plain:a","data":1}`)
			for _, p := range busy {
				if len(p.closed) == 0 {
					p.expect("plain:a: 1")
				}
			}
		}
	}
	select {
	case err := <-done:
		t.Fatalf("ended with %v", err)
	default:
	}
	step(10 * time.Millisecond)
	for len(done) == 0 {
		step(0)
	}
	must(t, <-done)
	for _, p := range slices.Concat(idle, busy) {
		p.over(DisconnectShutdown)
	}
	var lines []string
	for _, l := range logs.All() {
		lines = append(lines, fmt.Sprint(l.Message, l.ContextMap()["closed"]))
	}
	if want := []string{"draining<nil>", "draining2", "draining4", "draining6", "drained<nil>"}; !slices.Equal(lines, want) {
		t.Errorf("logged %q, want %q", lines, want)
	}
}

// Drain ends with its context; Close closes those who are left.
func TestDrainEnds(t *testing.T) {
	n := serve(t, users(Config{Hub: spaces()}))
	a := n.user(formatJSON, "anna")
	ended, end := context.WithCancel(ctx)
	step, done := n.draining(ended, time.Minute)
	step(time.Second)
	end()
	if err := wait(t, done, "the end"); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	a.quiet()
	n.stop()
}

// Who has begun its handshake before, comes too late.
func TestDrainWhileOpening(t *testing.T) {
	var n *node
	n = serve(t, Config{OnUpgrade: func(*engine.Upgrade) (any, error) {
		n.Server.draining.Store(true)
		return nil, nil
	}})
	p := n.dial(formatJSON)
	p.over(DisconnectShutdown)
}

// BenchmarkDrain has 2,000 clients come back to another server, at once or one after the other. It reports the handshakes
// in the worst 100 ms, and in the median of those with any.
func BenchmarkDrain(b *testing.B) {
	const clients = 2000
	for _, over := range []time.Duration{0, 5 * time.Second} {
		b.Run(fmt.Sprint("over=", over), func(b *testing.B) {
			for range b.N {
				peak, median := drained(b, clients, over)
				b.ReportMetric(float64(peak), "most/100ms")
				b.ReportMetric(float64(median), "median/100ms")
			}
		})
	}
}

func drained(t testing.TB, clients int, over time.Duration) (peak, median int) {
	var mu sync.Mutex
	var began time.Time
	var at []time.Duration
	back := make(chan struct{})
	other := serve(t, Config{Anonymous: true, OnUpgrade: func(*engine.Upgrade) (any, error) {
		mu.Lock()
		defer mu.Unlock()
		if at = append(at, time.Since(began)); len(at) == clients {
			close(back)
		}
		return nil, nil
	}})
	n := serve(t, Config{Anonymous: true})
	n.Server.now = time.Now
	var opened atomic.Int64
	e, err := engine.New(engine.Config{Loops: 1}, engine.Handler{})
	must(t, err)
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- e.Run(run) }()
	defer func() { stop(); must(t, <-done) }()
	for range clients {
		must(t, e.Dial(ctx, engine.Dial{URL: n.url, Handler: &engine.Handler{
			OnOpen: func(c *engine.Conn) {
				opened.Add(1)
				_ = c.SendText(`{"id":1,"connect":{}}`)
			},
			OnClose: func(c *engine.Conn, closed *engine.CloseError) { // as SDKs do, but at once
				if closed.Code == DisconnectShutdown.Code {
					_ = e.Dial(ctx, engine.Dial{URL: other.url, Handler: &engine.Handler{}})
				}
			},
		}}))
	}
	until(t, "all clients", func() bool { return len(n.hub.Clients()) == clients })
	began = time.Now()
	must(t, n.Drain(ctx, over))
	wait(t, back, "all clients to come back")
	mu.Lock()
	defer mu.Unlock()
	in := map[time.Duration]int{}
	for _, t := range at {
		in[t/(100*time.Millisecond)]++
	}
	counts := slices.Sorted(maps.Values(in))
	return counts[len(counts)-1], counts[len(counts)/2]
}
