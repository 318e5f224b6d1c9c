package hub

import (
	"slices"
	"strings"
	"time"

	"github.com/sockmill/sockmill/engine"
)

// Options are what a channel has. The zero value has nothing: publications of the program are delivered to whom the program
// has let in.
type Options struct {
	History  int           // publications that are kept; 0: none, and no positions
	Lifetime time.Duration // of each publication in the history; 0: it does not end

	// Latest says that each publication replaces those before it: who comes back is sent only the newest one, and that only
	// if it does not have it ("cache" recovery). It needs a History, for which 1 is enough.
	Latest bool

	Presence  bool // Hub.Present and Hub.Count know who is in the channel
	JoinLeave bool // KindJoin and KindLeave are published when a client joins and leaves

	// Who may do so without the hook of that name. If the hook is set, it alone decides.
	Join         Who // Members is as Nobody
	Publish      Who
	ReadHistory  Who
	ReadPresence Who

	NotOwn bool // a client does not get what it publishes itself

	// Policy is for readers that are too slow; 0: that of the message that Config.Encode returns. In a channel with a history
	// it is always engine.PolicyClose: the client comes back and recovers.
	Policy engine.Policy
}

// Who says who may do something.
type Who uint8

// The values of Who.
const (
	Nobody    Who = iota
	Members       // clients that are in the channel
	Everybody     // all clients
)

// Options returns the options of a channel. It fails with ErrName, or as Config.Channel does. Any goroutine may call it, on a loop
// too.
func (h *Hub) Options(channel string) (Options, error) {
	if err := checkChannel(channel); err != nil {
		return Options{}, err
	}
	if h.cfg.Channel == nil {
		return Options{}, nil
	}
	o, err := h.cfg.Channel(channel)
	if err != nil {
		return Options{}, err
	}
	if h.cfg.History == nil {
		o.History = 0
	}
	if h.cfg.Presence == nil {
		o.Presence = false
	}
	return o, nil
}

// Pattern is the options of the channels that a pattern matches.
type Pattern struct {
	Match   string // * stands for any bytes, also none
	Options Options
}

// ByPattern makes a Config.Channel: the first pattern that matches counts. If none does, it is ErrUnknownChannel.
func ByPattern(patterns ...Pattern) func(name string) (Options, error) {
	patterns = slices.Clone(patterns)
	return func(name string) (Options, error) {
		for i := range patterns {
			if matches(patterns[i].Match, name) {
				return patterns[i].Options, nil
			}
		}
		return Options{}, ErrUnknownChannel
	}
}

func matches(pattern, name string) bool {
	first, rest, more := strings.Cut(pattern, "*")
	if !more {
		return pattern == name
	}
	name, ok := strings.CutPrefix(name, first)
	for ok && more {
		if first, rest, more = strings.Cut(rest, "*"); !more {
			return strings.HasSuffix(name, first)
		}
		_, name, ok = strings.Cut(name, first) // the first place leaves most to the rest
	}
	return ok
}
