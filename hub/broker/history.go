package broker

import (
	"context"
	"fmt"
	"time"
)

// NoLimit as Query.Limit stands for all publications.
const NoLimit = -1

// History keeps the publications of channels, in order.
type History interface {
	// Append keeps a publication behind the last one of the channel and has it delivered to the
	// receivers of the channel as Broker.Publish does, with its position, which is
	// also returned. What p has of a position is ignored. All
	// receivers get the publications in the order of their offsets.
	//
	// With Keep.Key, a publication that has the channel and the key of an earlier one
	// is neither kept nor delivered, and the position of the earlier one is returned. An
	// implementation remembers a bounded number of keys for a bounded time, but at least a
	// minute of ordinary use.
	//
	// Nil means that the publication is kept, in the sense of the implementation: in memory, or
	// on the disks of several machines. Fails with ErrInvalid, ErrTooLarge, ErrFull,
	// ErrUnavailable, ErrClosed.
	Append(ctx context.Context, channel string, p Publication, keep Keep) (Position, error)

	// Read returns publications of a channel and its newest position, both as they were at
	// one moment. With Query.Since, and without Query.Reverse, the publications are those that follow
	// that position, without a gap up to the last one returned: the first one of them
	// follows Since, each other one that before it. If this cannot be
	// proven, Read fails with ErrUnrecoverable; Page.Top is right then too.
	// If Limit is large enough, the last one returned has the position Top, unless there is none: then nothing lies
	// between Since and Top. See Page.Complete.
	//
	// A channel without publications has a Top all the same, and what is appended later follows each Top that was
	// returned: it is what Read with that Top as Since returns. Top changes with Append, and when the History has lost the
	// stream: then its epoch is another one. It may also rise without an Append, so a position that is read again and again stays
	// one that can be proven; what is delivered next has as Prev then the offset of the publication before it, or says that it does not
	// know that. Fails with ErrInvalid, ErrUnavailable, ErrClosed.
	Read(ctx context.Context, channel string, q Query) (Page, error)

	// Remove removes what is kept of a channel. A position before the newest one
	// is unrecoverable then. Fails with ErrInvalid, ErrUnavailable, ErrClosed.
	Remove(ctx context.Context, channel string) error
}

// Keep says how Append keeps a publication. Publications and Lifetime hold for all that
// is kept of the channel, until the next Append. They are what can be counted on: an
// implementation whose bounds are not those of a channel may keep more; where its
// own bounds demand it, it keeps less. What it keeps is always the newest.
type Keep struct {
	Publications int           // of the channel; at least 1
	Lifetime     time.Duration // of each publication; 0: it does not end
	Key          string        // tells repeated calls from new ones, at most KeyBytesMax bytes; empty: each call is new
}

// Check fails with ErrInvalid if a field is out of its range.
func (k Keep) Check() error {
	switch {
	case k.Publications < 1:
		return fmt.Errorf("%w: Keep.Publications is %d: it must be at least 1", ErrInvalid, k.Publications)
	case k.Lifetime < 0:
		return fmt.Errorf("%w: Keep.Lifetime is %v: it must not be negative", ErrInvalid, k.Lifetime)
	case len(k.Key) > KeyBytesMax:
		return fmt.Errorf("%w: Keep.Key has %d bytes: it must have at most %d", ErrInvalid, len(k.Key), KeyBytesMax)
	}
	return nil
}

// Query says what to read.
type Query struct {
	Since   *Position // only what follows it; nil: from the oldest that is kept
	Limit   int       // at most so many publications; 0: none, only Page.Top; NoLimit: all
	Reverse bool      // the newest first; with Since, only what is kept from before it, of the same epoch
}

// Page is what was read.
type Page struct {
	Publications []Publication // the oldest first, or with Query.Reverse the newest
	Top          Position      // the newest of the channel, whatever was asked for
}

// Complete reports whether a page that was read with Query.Since, a Limit that is not 0 and without Query.Reverse has all that follows since.
func (p *Page) Complete(since Position) bool {
	if n := len(p.Publications); n > 0 {
		return p.Publications[n-1].Position == p.Top
	}
	return since.Epoch == p.Top.Epoch
}
