package hub

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
)

// What the hub asks a broker for where nobody waits for the answer.
const (
	upkeepTimeout = 10 * time.Second // for one question
	retryEvery    = time.Second      // for reads that failed
	renewsAtOnce  = 32               // memberships whose presence is renewed
)

// upkeep is the context of what nobody waits for, also behind the end of the hub.
func (h *Hub) upkeep() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(h.ctx), h.patience)
}

// temporary reports whether it may help to ask again.
func temporary(err error) bool {
	return errors.Is(err, broker.ErrUnavailable) || errors.Is(err, context.DeadlineExceeded)
}

// later is what has to be done again, because a broker could not be reached.
type later struct {
	reads []*channel // that have something to read
	owed  []subscription
	said  bool // that there are reads
}

// subscription is one that has to end.
type subscription struct {
	channel string
	r       broker.Receiver
}

// keep does what has to be done again and again, until the hub ends.
func (h *Hub) keep(every time.Duration) {
	defer h.work.Done()
	renew, retry := time.NewTicker(every), time.NewTicker(retryEvery)
	defer renew.Stop()
	defer retry.Stop()
	for {
		select {
		case <-renew.C:
			h.payOwed()
			h.renewAll()
		case <-retry.C:
			h.readAgain()
		case <-h.ctx.Done():
			return
		}
	}
}

// unsubscribe ends a subscription of this node. If the broker cannot be told, it is told later.
func (h *Hub) unsubscribe(channel string, r broker.Receiver) (told bool) {
	ctx, cancel := h.upkeep()
	defer cancel()
	err := h.cfg.Broker.Unsubscribe(ctx, channel, r)
	if err == nil || !temporary(err) || h.ctx.Err() != nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.later.owed = append(h.later.owed, subscription{channel, r})
	return false
}

// payOwed ends subscriptions that could not be ended before.
func (h *Hub) payOwed() {
	h.mu.Lock()
	owed := h.later.owed
	h.later.owed = nil
	h.mu.Unlock()
	for i, s := range owed {
		if !h.unsubscribe(s.channel, s.r) {
			h.mu.Lock()
			h.later.owed = append(h.later.owed, owed[i+1:]...)
			h.mu.Unlock()
			return
		}
	}
}

// readLater has a channel read again.
func (h *Hub) readLater(ch *channel, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.later.said {
		h.later.said = true
		h.cfg.Logger.Warn("a history cannot be read; channels wait for it", zap.String("channel", ch.name), zap.Error(err))
	}
	h.later.reads = append(h.later.reads, ch)
}

// readAgain has channels read that could not be read before: some, or all if others could be read since.
func (h *Hub) readAgain() {
	readable := h.readable.Swap(false)
	h.mu.Lock()
	n := len(h.later.reads)
	if !readable {
		n = min(n, readsAtOnce)
	}
	h.later.said = h.later.said && n > 0
	some := h.later.reads[:n:n]
	if h.later.reads = h.later.reads[n:]; len(h.later.reads) == 0 {
		h.later.reads = nil
	}
	h.mu.Unlock()
	for _, ch := range some {
		ch.goRead()
	}
}

// renewAll renews the presence of all clients of this node. Of what does not get its turn in time, the next one may succeed.
func (h *Hub) renewAll() {
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.PresenceLifetime/3)
	defer cancel()
	var all sync.WaitGroup
	defer all.Wait()
	due := make(chan *membership)
	defer close(due)
	for range renewsAtOnce {
		all.Go(func() {
			for m := range due {
				m.renew(ctx)
			}
		})
	}
	for _, c := range h.Clients() {
		for _, m := range c.memberships() {
			select {
			case due <- m:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (m *membership) renew(ctx context.Context) {
	if !m.turn.TryLock() { // it is coming or going
		return
	}
	defer m.turn.Unlock()
	if m.entered {
		_ = m.c.h.cfg.Presence.Enter(ctx, m.ch.name, *m.seen(), m.c.h.cfg.PresenceLifetime)
	}
}
