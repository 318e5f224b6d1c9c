package centrifugal

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

const (
	drainStep  = 20 * time.Millisecond // from one look at the clock to the next
	drainLog   = 2 * time.Second       // from one line in the log to the next
	drainRetry = "1"                   // seconds, for clients that are refused
)

// Drain moves the clients to other servers, before this one ends. New connections are refused with status 503 from now on: SDKs
// try again, which a load balancer sends elsewhere. Those that are open are closed with 3001, upon which SDKs
// connect again and recover by their positions; those without a channel first, spread evenly over a time. Publications and orders still reach
// those that are left.
//
// Drain returns nil when all have gone, which is later than the time, also because what a busy machine delays is not done at once: who does not answer the close frame has until
// engine.Config.CloseTimeout. It fails with the error of ctx if that ends first: then Close closes the others. It cannot be
// undone. Connections of the hub that the program has made without the Server stay open. It must not be called on a loop.
func (s *Server) Drain(ctx context.Context, over time.Duration) error {
	s.draining.Store(true)
	began := s.now()
	all := s.idleFirst()
	s.log.Info("draining", zap.Int("connections", len(all)), zap.Duration("over", over))
	ticks, stop := s.ticks(drainStep)
	defer stop()
	for closed, logged := 0, began; ; {
		now := s.now()
		due := min(drainDue(len(all), now.Sub(began), over), closed+2*drainDue(len(all), drainStep, over)+1) // not many at once after a delay either
		for ; closed < due; closed++ {
			_ = all[closed].Close(DisconnectShutdown.Code, DisconnectShutdown.Reason) // it may have gone
		}
		left := s.open.Load()
		if closed == len(all) && left == 0 {
			s.log.Info("drained")
			return nil
		}
		if now.Sub(logged) >= drainLog {
			logged = now
			s.log.Info("draining", zap.Int("closed", closed), zap.Int64("left", left))
		}
		select {
		case <-ticks:
		case <-ctx.Done():
			s.log.Warn("draining ends before all have gone", zap.Int64("left", s.open.Load()))
			return ctx.Err()
		}
	}
}

// drainDue is how many of n have to be closed when some of the time has passed.
func drainDue(n int, passed, over time.Duration) int {
	if passed >= over {
		return n
	}
	return int(float64(n) * (float64(passed) / float64(over)))
}

// idleFirst returns the connections in the order in which they are closed: by chance, but those without channels first.
func (s *Server) idleFirst() []*engine.Conn {
	var idle, busy []*engine.Conn
	for c := range s.e.Conns() {
		x := sessionOf(c)
		if x == nil || x.s != s {
			continue
		}
		if client := x.known(); client == nil || len(client.Channels()) == 0 {
			idle = append(idle, c)
		} else {
			busy = append(busy, c)
		}
	}
	for _, list := range [][]*engine.Conn{idle, busy} {
		rand.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return slices.Concat(idle, busy)
}

// refuse is the answer to a handshake while the server drains.
func refuse() error {
	return engine.Refuse(503, "this server is about to end: try again", protocol.Field{Name: "Retry-After", Value: drainRetry})
}

func newTicks(d time.Duration) (<-chan time.Time, func()) {
	t := time.NewTicker(d)
	return t.C, t.Stop
}
