package nats

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sockmill/sockmill/hub/broker"
)

// history is the state of what is in the files history*.go, streams.go, compare.go and replies.go.
type history struct {
	js      jetstream.JetStream
	replies replies
	parts   []*part
	warned  atomic.Bool                                        // that a channel is promised more than the streams keep
	older   func(stream string, sequence uint64) time.Duration // for tests: how much older a message is than it says; nil: it is not

	appended, refused, reads, recovered, unrecoverable, compared, missed, made atomic.Uint64
}

// HistoryStats are the counters of the histories.
type HistoryStats struct {
	Appended      uint64 // publications that a stream has acknowledged
	Refused       uint64 // calls of Append and Remove that failed
	Reads         uint64 // calls of Read
	Recovered     uint64 // those with a position for which it was proven that nothing is missing
	Unrecoverable uint64 // those for which it was not
	Compared      uint64 // positions of channels that were compared with a stream
	Missed        uint64 // channels of which a publication had not come, which comparing found
	Made          uint64 // streams that this node has made
}

// errNobody: nobody has heard a question. There is no such stream, or it has no leader.
var errNobody = fmt.Errorf("%w: the stream has no leader, or is gone", broker.ErrUnavailable)

// errNoHistory: see Config.NoHistory.
var errNoHistory = fmt.Errorf("%w: there are no histories with Config.NoHistory", broker.ErrUnavailable)

func (b *Broker) openHistory(ctx context.Context) error {
	h := &b.history
	if b.cfg.NoHistory {
		return nil
	}
	var err error
	if h.js, err = jetstream.New(b.conn); err == nil {
		err = h.replies.open(b)
	}
	if err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	for n := range b.cfg.Streams {
		p := newPart(b, n)
		if err := p.ensure(ctx); err != nil {
			return err
		}
		h.parts = append(h.parts, p)
		b.run(p.watch)
	}
	b.onReconnect(func(context.Context) {
		for _, p := range h.parts {
			p.wake()
		}
	})
	return nil
}

// closeHistory is called by Close, before the connection ends and before ctx of run ends.
func (b *Broker) closeHistory() {}

func (b *Broker) historyStats() HistoryStats {
	h := &b.history
	return HistoryStats{
		Appended: h.appended.Load(), Refused: h.refused.Load(), Reads: h.reads.Load(), Recovered: h.recovered.Load(),
		Unrecoverable: h.unrecoverable.Load(), Compared: h.compared.Load(), Missed: h.missed.Load(), Made: h.made.Load(),
	}
}

// of returns the part that a channel belongs to.
func (b *Broker) of(ctx context.Context, channel string) (*part, error) {
	if err := b.check(ctx, channel); err != nil {
		return nil, err
	}
	if b.cfg.NoHistory {
		return nil, errNoHistory
	}
	return b.history.parts[b.partOf(channel)], nil
}
