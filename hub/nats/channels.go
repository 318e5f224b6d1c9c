package nats

import (
	"context"
	"slices"
	"unique"

	"github.com/sockmill/sockmill/hub/broker"
)

// followed is a channel that this node follows.
type followed struct {
	name      string
	receivers []broker.Receiver
	stream    unique.Handle[string] // of the last publication that was delivered and had been appended; zero: there was none
	last      uint64                // its offset
	compared  uint64                // see noted
}

// Subscribe implements broker.Broker. Nil means that the server that this node is connected to delivers from now on what it gets. Other
// servers of its cluster know that soon afterwards, as long as they are connected to it; what is published there before may not come. If it was
// appended, Interrupted is called after Config.CompareEvery at the latest.
func (b *Broker) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	if err := b.up(); err != nil {
		return err
	}
	i := b.shardOf(channel)
	if err := b.join(ctx, i); err != nil {
		return err
	}
	l, s := b.laneOf(i), &b.shards[i]
	l.mu.Lock()
	defer l.mu.Unlock()
	s.leave()
	f := s.channels[channel]
	if f == nil {
		if s.channels == nil {
			s.channels = map[string]*followed{}
		}
		f = &followed{name: channel}
		s.channels[channel] = f
	}
	if !slices.Contains(f.receivers, r) {
		f.receivers = append(f.receivers, r)
	}
	return nil
}

// Unsubscribe implements broker.Broker. It does not ask NATS, so it is not held up by a lost connection.
func (b *Broker) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	if err := b.check(ctx, channel); err != nil {
		return err
	}
	b.change(channel, func(s *shard, f *followed) {
		f.receivers = slices.DeleteFunc(f.receivers, func(x broker.Receiver) bool { return x == r })
		if len(f.receivers) > 0 {
			return
		}
		if delete(s.channels, channel); len(s.channels) == 0 {
			s.joining++
			s.leave()
		}
	})
	return nil
}

// change calls f with a channel, if it is followed, while nothing is delivered to it.
func (b *Broker) change(channel string, f func(s *shard, f *followed)) {
	i := b.shardOf(channel)
	l, s := b.laneOf(i), &b.shards[i]
	l.mu.Lock()
	defer l.mu.Unlock()
	if x := s.channels[channel]; x != nil {
		f(s, x)
	}
}

// at is where a channel that is followed here is.
type at struct {
	channel string
	stream  string // empty: nothing that was appended has come since it is followed, and nothing was noted
	last    uint64 // the offset of the last publication that has come, or that noted said, if that is greater
}

// followedIn returns the channels of some shards (those with the remainder lane when divided by lanes) that are followed now, in no order.
func (b *Broker) followedIn(lane int) []at {
	var all []at
	for i := lane; i < len(b.shards); i += lanes {
		l, s := b.laneOf(i), &b.shards[i]
		l.mu.Lock()
		for _, f := range s.channels {
			x := at{channel: f.name, last: max(f.last, f.compared)}
			if f.stream != (unique.Handle[string]{}) {
				x.stream = f.stream.Value()
			}
			all = append(all, x)
		}
		l.mu.Unlock()
	}
	return all
}

// noted is for comparing: it says that up to this sequence of the stream nothing of a followed channel has to be told to the receivers any
// more. It does not change what is delivered. A channel that is not followed is passed over.
func (b *Broker) noted(channel, stream string, sequence uint64) {
	b.change(channel, func(_ *shard, f *followed) {
		f.in(stream)
		f.compared = max(f.compared, sequence)
	})
}

// in begins another stream if it is another one.
func (f *followed) in(stream string) {
	if f.stream == (unique.Handle[string]{}) || f.stream.Value() != stream {
		f.stream, f.last, f.compared = unique.Make(stream), 0, 0
	}
}

// interrupt calls Interrupted of all receivers of a channel.
func (b *Broker) interrupt(channel string) {
	b.change(channel, func(_ *shard, f *followed) { b.tell(f) })
}

// interruptShard calls Interrupted for all channels of a shard that are followed.
func (b *Broker) interruptShard(i int) {
	l, s := b.laneOf(i), &b.shards[i]
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range s.channels {
		b.tell(f)
	}
}

// interruptAll calls Interrupted for all channels that are followed, one by one.
func (b *Broker) interruptAll() {
	for i := range b.shards {
		b.interruptShard(i)
	}
}

// tell is called with mu of the lane.
func (b *Broker) tell(f *followed) {
	for _, r := range f.receivers {
		b.counts.interrupted.Add(1)
		r.Interrupted(f.name)
	}
}
