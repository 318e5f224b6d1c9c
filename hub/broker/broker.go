// Package broker says what a hub needs of the rest of the world: a Broker that
// carries publications between nodes, a History that keeps them, and a Presence
// that knows who is where. They are three interfaces, so that each can be had from
// somebody else; package memory has all three for one process, and package
// brokertest has the tests that every implementation must pass.
//
// A channel is a name of 1 to ChannelBytesMax bytes, any bytes. Channels need not be
// made: a channel that nobody has used is empty.
//
// # Positions
//
// The publications of a channel that were given to History.Append are a stream:
// each has an offset, which is larger than those before it, but not always by one.
// So each carries in Publication.Prev the offset of the one before it, and
// Publication.Follows tells whether anything lies between a position and it.
// The epoch names the stream. If a History has lost a stream and begins
// another one, then that has another epoch, and nothing is recovered of the first.
//
// # Joining
//
// Subscribe first, then Read: whatever is appended after the position Page.Top of that
// Read is delivered. What was delivered meanwhile with an offset up to that of Top
// lies before it. Each publication that is delivered then follows the one before, or
// something may have been lost: Read with Query.Since fills the gap, says that there is none, or fails with
// ErrUnrecoverable. Nothing is ever missing in what it returns.
//
// # Rules for all methods
//
// Goroutines: all methods may be called from any goroutine at once, but not from
// within Receiver.Deliver and Receiver.Interrupted. They may wait for something
// remote, so they do not belong on an event loop.
//
// Contexts: a context that has ended before the call makes it fail with the error of
// the context, and nothing has happened. If it ends during the call, the call may have
// done its work or not; to append again is safe with Keep.Key.
//
// Slices, maps and Info: nobody changes what is in a Publication or an Info after it was
// given to a method, was returned, or was delivered. So nobody has to copy it, and
// everybody may keep it for ever.
//
// Errors: those of this package are for errors.Is. After an error other than that of a
// context, ErrUnavailable and MissingError, nothing has happened.
//
// Closing: an implementation is closed by whoever made it. No receiver is called after its
// Close has returned, and then every method fails with ErrClosed.
package broker

import (
	"context"
	"errors"
	"fmt"
)

// Limits of names, in bytes.
const (
	ChannelBytesMax = 255
	KeyBytesMax     = 255 // of Keep.Key
)

// The errors of all implementations, for errors.Is.
var (
	// ErrClosed: the implementation was closed.
	ErrClosed = errors.New("broker: closed")

	// ErrInvalid: an argument is not what the method takes; the text says which one.
	ErrInvalid = errors.New("broker: invalid argument")

	// ErrUnavailable: what has to be asked cannot be reached now. Whether a publication
	// was accepted is not known. It may be tried again later.
	ErrUnavailable = errors.New("broker: unavailable")

	// ErrTooLarge: the publication is larger than the implementation can carry or keep.
	ErrTooLarge = errors.New("broker: publication too large")

	// ErrFull: there is no room, and nothing may be removed to make some.
	ErrFull = errors.New("broker: full")

	// ErrUnrecoverable: it cannot be proven that what would be returned is all that follows the
	// position: its epoch is another one, it was never given, or what
	// follows it is no longer kept.
	ErrUnrecoverable = errors.New("broker: unrecoverable position")
)

// CheckChannel fails with ErrInvalid if a name is empty or longer than ChannelBytesMax.
func CheckChannel(name string) error {
	if len(name) == 0 || len(name) > ChannelBytesMax {
		return fmt.Errorf("%w: the name of a channel has %d bytes: it must be from 1 to %d", ErrInvalid, len(name), ChannelBytesMax)
	}
	return nil
}

// Broker carries publications to the nodes that follow a channel.
type Broker interface {
	// Publish has a publication delivered to the receivers that are subscribed to the channel,
	// on all nodes. It is not kept and has no position: what p has of one is ignored. What one
	// goroutine publishes to a channel arrives in the order of its calls.
	//
	// Nil means that the publication is on its way; the implementation says how far it has
	// got, and whether it can be lost. Fails with ErrInvalid, ErrTooLarge, ErrUnavailable, ErrClosed.
	Publish(ctx context.Context, channel string, p Publication) error

	// Subscribe has r called for what is published and appended to the channel. Nil
	// means that whatever is published from now on, on any node, is delivered. An implementation
	// with several servers between the nodes may say that a server learns of it a moment
	// later: what is published there meanwhile may not come, and for what is
	// appended there Interrupted is called. To
	// subscribe again changes nothing. r must be comparable, as pointers are.
	// Fails with ErrInvalid, ErrUnavailable, ErrClosed.
	Subscribe(ctx context.Context, channel string, r Receiver) error

	// Unsubscribe ends a subscription. After it has returned nil, r is not called for the
	// channel, not even by a call that had begun before. If there is no subscription,
	// nothing happens. Fails with ErrInvalid, ErrUnavailable, ErrClosed.
	Unsubscribe(ctx context.Context, channel string, r Receiver) error
}

// Prefixes is what a Broker may have too: one subscription for all channels whose names begin alike, also for
// those that nobody else follows. It is for brokers that do not care how much they deliver to this node, but how many
// subscriptions they have.
type Prefixes interface {
	// SubscribePrefix is Broker.Subscribe for all channels whose name begins with prefix, which has 1 to
	// ChannelBytesMax bytes. A receiver that has subscribed to a channel as well gets what is published there twice.
	SubscribePrefix(ctx context.Context, prefix string, r Receiver) error

	// UnsubscribePrefix ends a subscription as Broker.Unsubscribe does.
	UnsubscribePrefix(ctx context.Context, prefix string, r Receiver) error
}

// Receiver is the node's side of a Broker. Both methods may be called on any goroutine, also on
// that of a publisher. They must not block and must not call the implementation.
type Receiver interface {
	// Deliver gets each publication of a channel at most once. Those of one channel come one
	// after the other, those of one epoch by rising offsets. Deliver may be called for
	// several channels at once.
	Deliver(channel string, p Publication)

	// Interrupted says that publications of the channel may have been lost, or those of
	// all channels if it is empty: for example, because the connection to a server was cut.
	// Publications are being delivered again, and Read tells whether
	// there are some behind the last one that was delivered. An implementation that has compared
	// what it delivered with its History need not call it where nothing is missing.
	Interrupted(channel string)
}
