package nats

import (
	"context"
	"strconv"
	"strings"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
)

// Publish implements broker.Broker. Nil means that NATS has got the publication, or that it is on its way there: it is lost if the connection
// breaks now. The publication comes to this node by way of NATS too. It fails with broker.ErrUnavailable at once if there is no connection, with
// broker.ErrTooLarge if NATS does not take so much.
func (b *Broker) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	if err := b.up(); err != nil {
		return err
	}
	r := record{Publication: p}
	if err := r.check(); err != nil {
		return err
	}
	if int64(len(p.Data)) > b.link.payload.Load() {
		return b.tooLarge()
	}
	var space [kib]byte // most publications are smaller; nats.go copies them
	if err := b.conn.Publish(b.liveSubject(channel), r.encode(space[:0])); err != nil {
		return b.failed(err)
	}
	b.counts.published.Add(1)
	return nil
}

// deliver is the goroutine of a lane.
func (l *lane) deliver(b *Broker) func(ctx context.Context) {
	return func(ctx context.Context) {
		for {
			select {
			case <-ctx.Done():
				return
			case m := <-l.messages:
				b.dispatch(l, m)
			}
		}
	}
}

// dispatch delivers a message to whoever follows its channel.
func (b *Broker) dispatch(l *lane, m *natsgo.Msg) {
	if b.cfg.drop != nil && b.cfg.drop(m) {
		return
	}
	i, token, ok := b.cutLive(m.Subject)
	if !ok {
		b.foreign(m)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	f := b.shards[i].find(token)
	if f == nil {
		b.counts.passed.Add(1)
		return
	}
	var r record
	if r.decode(m.Data) != nil {
		b.foreign(m)
		return
	}
	if stream := first(m.Header, "Nats-Stream"); stream != "" {
		if !b.place(&r, stream, m.Header) {
			b.foreign(m)
			return
		}
		if f.in(stream); r.Offset <= f.last {
			return // a change of the leader of a stream can make it come again
		}
		f.last, r.Epoch = r.Offset, f.stream.Value() // one string for all
	}
	b.counts.delivered.Add(1)
	for _, to := range f.receivers {
		to.Deliver(f.name, r.Publication)
	}
}

// find returns the channel with this token, if it is followed.
func (s *shard) find(token string) *followed {
	if strings.IndexByte(token, '%') < 0 {
		return s.channels[token]
	}
	var space [broker.ChannelBytesMax]byte
	if len(token) > tokenBytesMax {
		return nil
	}
	name, ok := appendName(space[:0], token)
	if !ok {
		return nil
	}
	return s.channels[string(name)]
}

// place gives a record that a stream has republished its position. It fails if it cannot be from a stream of ours.
func (b *Broker) place(r *record, stream string, headers natsgo.Header) bool {
	sequence, err := strconv.ParseUint(first(headers, "Nats-Sequence"), 10, 64)
	before, err2 := strconv.ParseUint(first(headers, "Nats-Last-Sequence"), 10, 64)
	if err != nil || err2 != nil || before >= sequence || !strings.HasPrefix(stream, b.cfg.Prefix+"-") {
		return false
	}
	if before == 0 {
		before = sequence // nothing else of the channel is stored, so it is not known what was before
	}
	r.Position, r.Prev = broker.Position{Offset: sequence, Epoch: stream}, before
	return true
}

func first(headers natsgo.Header, name string) string {
	if all := headers[name]; len(all) > 0 {
		return all[0]
	}
	return ""
}

// foreign is for what is on our subjects and not ours.
func (b *Broker) foreign(m *natsgo.Msg) {
	b.counts.foreign.Add(1)
	b.seldom.Warn("a message on a subject of ours is not ours", zap.String("subject", m.Subject), zap.Int("bytes", len(m.Data)))
}
