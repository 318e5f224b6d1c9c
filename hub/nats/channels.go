package nats

import (
	"context"
	"sync"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// lanes is how many goroutines deliver. The shards are spread over them, so the publications of a channel keep their order.
const lanes = 4

// lane is a goroutine that delivers, and the channels of its shards.
type lane struct {
	messages chan *natsgo.Msg

	mu       sync.Mutex // guards what follows; held while receivers are called
	channels map[string]*followed
}

// followed is a channel that this node follows.
type followed struct {
	name      string
	receivers []broker.Receiver
	stream    string // the name of the stream of what was delivered last; empty: nothing yet
	last      uint64 // the sequence of the last message of the channel that came: of a publication, or of a removal
	stands    uint64 // the offset that the receivers know it by: last, or record.Stands
	compared  uint64 // see noted
}

// shard is the NATS subscription for a part of the channels.
type shard struct{}

func (b *Broker) begin() {}

// at is where a channel that is followed here is.
type at struct {
	channel string
	stream  string // empty: nothing that was appended has come since it is followed
	last    uint64 // the greater one of the last sequence that came, and what noted said
}

// followedIn returns the channels of one lane (0 to lanes-1) that are followed now, in no order.
func (b *Broker) followedIn(lane int) []at { return nil }

// noted is for comparing: it says that the sequence of a followed channel in the stream was looked at, and nothing up to it has to be told
// to the receivers any more. It does not change what is delivered. A channel that is not followed is passed over.
func (b *Broker) noted(channel, stream string, sequence uint64) {}

// interrupt calls Interrupted of all receivers of a channel.
func (b *Broker) interrupt(channel string) {}

// interruptShard calls Interrupted for all channels of a shard that are followed.
func (b *Broker) interruptShard(shard int) {}

// interruptAll calls Interrupted for all channels that are followed.
func (b *Broker) interruptAll() {}

// interest counts channels and NATS subscriptions for them.
func (b *Broker) interest() (channels, shards int) { return 0, 0 }

// Publish implements broker.Broker.
func (b *Broker) Publish(ctx context.Context, channel string, p broker.Publication) error {
	return broker.ErrUnavailable
}

// Subscribe implements broker.Broker.
func (b *Broker) Subscribe(ctx context.Context, channel string, r broker.Receiver) error {
	return broker.ErrUnavailable
}

// Unsubscribe implements broker.Broker.
func (b *Broker) Unsubscribe(ctx context.Context, channel string, r broker.Receiver) error {
	return broker.ErrUnavailable
}
