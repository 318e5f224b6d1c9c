package broker

import (
	"context"
	"fmt"
	"time"
)

// Presence knows which connections are in a channel, on all nodes. A connection is on one node: only that one calls Enter and Leave for it.
//
// A result may lack what some nodes know, because they did not answer in time. Then Present and Count return it together with
// a *MissingError, for errors.As, and it is right for all other nodes.
//
// # When a node ends suddenly
//
// Its connections are present until the implementation no longer knows the node, or until their lifetimes have
// passed. Nobody publishes for them that they have left: only the node that has ended knew all of them, so no other one could publish
// exactly one event for each. Events tell what the living nodes did. Whoever keeps a list of members by events
// asks Present from time to time, and always when it joins again.
type Presence interface {
	// Enter says that the connection info.Client is in the channel, for as long as
	// lifetime from now. To enter again begins a new lifetime and replaces info. A node renews its
	// connections in time, so that those that it has forgotten are gone after a
	// lifetime. Fails with ErrInvalid if info.Client is empty or lifetime is not positive; with ErrFull,
	// ErrUnavailable, ErrClosed.
	Enter(ctx context.Context, channel string, info Info, lifetime time.Duration) error

	// Leave says that the connection is not in the channel; nothing happens if
	// it was not. Fails with ErrInvalid, ErrUnavailable, ErrClosed.
	Leave(ctx context.Context, channel, client string) error

	// Present returns all who are in the channel, in no order. Fails with ErrInvalid, ErrUnavailable, ErrClosed; a
	// *MissingError comes with a result.
	Present(ctx context.Context, channel string) ([]Info, error)

	// Count counts them. It fails as Present does. A user is counted once, on however many nodes it is.
	Count(ctx context.Context, channel string) (Counts, error)
}

// CheckEnter fails with ErrInvalid if Presence.Enter does not take the arguments.
func CheckEnter(info *Info, lifetime time.Duration) error {
	switch {
	case info.Client == "":
		return fmt.Errorf("%w: Info.Client is empty", ErrInvalid)
	case lifetime <= 0:
		return fmt.Errorf("%w: a lifetime of %v: it must be positive", ErrInvalid, lifetime)
	}
	return nil
}

// Counts is how many are in a channel.
type Counts struct {
	Clients int // connections
	Users   int // different values of Info.User; connections without one count as one
}
