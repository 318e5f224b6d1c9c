package nats

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// lanes is how many goroutines deliver. The shards are spread over them, so the publications of a channel keep their order.
const lanes = 4

// laneMessages is how many messages may wait for a lane. What comes then is dropped, counted, and told.
const laneMessages = 16_384

// lane is a goroutine that delivers, and a lock for what belongs to its shards.
type lane struct {
	messages chan *natsgo.Msg
	mu       sync.Mutex // held while receivers are called; NATS is not asked while it is held
}

// shard is the channels with one NATS subscription, which is there as long as this node follows at least one of them, and Grace longer.
type shard struct {
	asking sync.Mutex // held by who begins or ends the subscription; locked before mu of the lane

	// What follows is guarded by mu of the lane.
	channels map[string]*followed
	joining  int                  // calls of Subscribe that wait for ready
	idle     time.Time            // when nobody was there any more
	sub      *natsgo.Subscription // nil: none, or not yet ready
	dropped  int                  // messages of sub that the receivers were told of
}

func (b *Broker) begin() {
	for i := range b.lanes {
		b.lanes[i].messages = make(chan *natsgo.Msg, laneMessages)
	}
	b.shards = make([]shard, b.cfg.Shards)
}

func (b *Broker) laneOf(shard int) *lane { return &b.lanes[shard%lanes] }

// join returns when the server delivers what is published to the shard, and keeps it so until leave.
func (b *Broker) join(ctx context.Context, i int) error {
	l, s := b.laneOf(i), &b.shards[i]
	l.mu.Lock()
	s.joining++
	ready := s.sub != nil
	l.mu.Unlock()
	if ready {
		return nil
	}
	if err := b.ask(ctx, i); err != nil {
		l.mu.Lock()
		s.leave()
		l.mu.Unlock()
		return err
	}
	return nil
}

// leave ends what join began. It is called with mu of the lane.
func (s *shard) leave() {
	s.joining--
	s.idle = time.Now()
}

// ask subscribes to a shard, unless somebody else has done it.
func (b *Broker) ask(ctx context.Context, i int) error {
	l, s := b.laneOf(i), &b.shards[i]
	s.asking.Lock()
	defer s.asking.Unlock()
	if s.sub != nil { // only who has asking changes it
		return nil
	}
	sub, err := b.conn.ChanSubscribe(b.shardSubject(i), l.messages)
	if err != nil {
		return b.failed(err)
	}
	limited, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	if err := b.conn.FlushWithContext(limited); err != nil {
		_ = sub.Unsubscribe() // it is not known whether the server got it
		if ctx.Err() == nil && limited.Err() != nil {
			return errSlow
		}
		return b.failed(err)
	}
	if err := b.conn.LastError(); refused(err) && (!errors.Is(err, natsgo.ErrPermissionViolation) || strings.Contains(err.Error(), strconv.Quote(sub.Subject))) {
		_ = sub.Unsubscribe()
		return b.failed(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s.sub, s.dropped = sub, 0
	return nil
}

// sweep ends the subscriptions of shards that have had no channel for Grace.
func (b *Broker) sweep(now time.Time) {
	for i := range b.shards {
		s := &b.shards[i]
		if !s.asking.TryLock() {
			continue
		}
		l := b.laneOf(i)
		l.mu.Lock()
		sub := s.sub
		if len(s.channels) > 0 || s.joining > 0 || now.Sub(s.idle) < b.cfg.Grace {
			sub = nil
		}
		if sub != nil {
			s.sub, s.channels = nil, nil
		}
		l.mu.Unlock()
		if sub != nil {
			_ = sub.Unsubscribe()
		}
		s.asking.Unlock()
	}
}

// tellLost calls Interrupted where nats.go has dropped messages because their lane was full. That nats.go says so once, and then not until a message
// of the shard has got through, is the reason why all shards are looked at each time.
func (b *Broker) tellLost() {
	for i := range b.shards {
		l, s := b.laneOf(i), &b.shards[i]
		l.mu.Lock()
		lost := 0
		if s.sub != nil {
			if n, err := s.sub.Dropped(); err == nil {
				lost, s.dropped = n-s.dropped, n
			}
		}
		l.mu.Unlock()
		if lost > 0 {
			b.counts.lost.Add(uint64(lost))
			b.seldom.Warn("messages of NATS were dropped because this node is too slow", zap.Int("messages", lost))
			b.interruptShard(i)
		}
	}
}

// interest counts channels and NATS subscriptions for them.
func (b *Broker) interest() (channels, shards int) {
	for i := range b.shards {
		l, s := b.laneOf(i), &b.shards[i]
		l.mu.Lock()
		channels += len(s.channels)
		if s.sub != nil {
			shards++
		}
		l.mu.Unlock()
	}
	return channels, shards
}
