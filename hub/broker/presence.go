package broker

import (
	"context"
	"fmt"
	"time"
)

// Presence knows which connections are in a channel, on all nodes.
type Presence interface {
	// Enter says that the connection info.Client is in the channel, for as long as
	// lifetime from now. To enter again begins a new lifetime and replaces info. A node renews its
	// connections in time, so that those of a node that has crashed are gone after a
	// lifetime. Fails with ErrInvalid if info.Client is empty or lifetime is not positive; with ErrFull,
	// ErrUnavailable, ErrClosed.
	Enter(ctx context.Context, channel string, info Info, lifetime time.Duration) error

	// Leave says that the connection is not in the channel; nothing happens if
	// it was not. Fails with ErrInvalid, ErrUnavailable, ErrClosed.
	Leave(ctx context.Context, channel, client string) error

	// Present returns all who are in the channel, in no order. Fails with ErrInvalid,
	// ErrUnavailable, ErrClosed.
	Present(ctx context.Context, channel string) ([]Info, error)

	// Count counts them. Fails with ErrInvalid, ErrUnavailable, ErrClosed.
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
