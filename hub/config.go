package hub

import (
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Config says how a Hub works. New refuses a value outside its range.
type Config struct {
	// The brokers. If all three are nil, they are one memory.Broker that the Hub closes. Otherwise Broker must be
	// set. Without History, no channel has a history; without Presence, none has a presence.
	Broker   broker.Broker
	History  broker.History
	Presence broker.Presence

	// Formats is how many wire formats there are, from 1 to 16; 0 is 1. Connect.Format says which one a client speaks.
	Formats int

	// Encode makes the message that is sent for a publication to clients of a format, from 0 on; it must be set. It is called once for
	// each publication, node and format in use, and once more for each that has to be read from the history.
	// For what is published to users and to all, channel is empty.
	// It runs on any goroutine, while the channel waits, so it must not block nor call the Hub. The
	// message's Data must not change afterwards. p must not be changed. With engine.PolicyReplace, by Options.Policy or of the
	// message, the message's Key says what it replaces for a reader that is too slow.
	Encode func(format int, channel string, p *broker.Publication) engine.Message

	// Channel returns the options of a channel, or an error, such as ErrUnknownChannel, with which the method
	// that asks fails; nil: the zero Options for all. See ByPattern. It may be called on any
	// goroutine, often, must not block, and must return the same on all nodes.
	Channel func(name string) (Options, error)

	// Hooks decide what clients may do.
	Hooks Hooks

	// Joining is called before the hub joins a channel for a client (Connect.Channels, Hub.Subscribe). It may change j. It runs
	// on a goroutine of the hub or of Hub.Connect, where it may block.
	Joining func(c *Client, channel string, j *Join)

	// OnLeft is called when a client was taken out of a channel: by Hub.Unsubscribe, or with CodeInsufficient because
	// it would have missed a publication. It runs on a goroutine of the hub, where it may block, in
	// the order of what the hub does for this client. Until it has returned, the client cannot join the
	// channel: a Join waits. So it must not join itself: Hub.Subscribe has the hub do it afterwards.
	// nil: the connection of one who would have missed something is closed with 3010.
	OnLeft func(c *Client, channel string, code protocol.CloseCode, reason string)

	// OnCommand is called for Hub.Command, at the node of each client that it is for. It runs as OnLeft does.
	OnCommand func(c *Client, name string, data []byte)

	// Logger is told what fails where nobody waits for the result, such as a Hub.Subscribe for a client that
	// cannot join. nil: that of the engine. docs/LOGS.md has all lines.
	Logger *zap.Logger

	ChannelsPerClientMax int           // 128; at most engine.Config.TopicsPerConnectionMax less one; a channel with Options.JoinLeave takes two topics
	RecoverMax           int           // publications that a join recovers at most; more is not recovered: 1,000
	RingMax              int           // publications of a channel that are kept encoded, for those who come back: 64
	WaitMax              int           // publications of a channel that wait while a gap is filled; of more, the rest is read too. Of the gap, as many are read at once: 4,096
	PresenceLifetime     time.Duration // how long the presence of a crashed node lasts: 1 minute, at least 1 second
}

// formatsMax bounds Config.Formats.
const formatsMax = 16

// settle checks the fields and fills in the defaults.
func (c *Config) settle() error {
	if c.Encode == nil {
		return errors.New("hub: Config.Encode is not set")
	}
	if c.Broker == nil && (c.History != nil || c.Presence != nil) {
		return errors.New("hub: Config.Broker is not set, but others are")
	}
	for _, r := range []struct {
		name     string
		field    *int
		def, min int
	}{
		{"Formats", &c.Formats, 1, 1},
		{"ChannelsPerClientMax", &c.ChannelsPerClientMax, 128, 1},
		{"RecoverMax", &c.RecoverMax, 1000, 1},
		{"RingMax", &c.RingMax, 64, 1},
		{"WaitMax", &c.WaitMax, 4096, 1},
	} {
		if *r.field == 0 {
			*r.field = r.def
		}
		if *r.field < r.min {
			return fmt.Errorf("hub: Config.%s is %d: it must be at least %d, or 0 for the default", r.name, *r.field, r.min)
		}
	}
	if c.Formats > formatsMax {
		return fmt.Errorf("hub: Config.Formats is %d: it must be at most %d", c.Formats, formatsMax)
	}
	if c.PresenceLifetime == 0 {
		c.PresenceLifetime = time.Minute
	}
	if c.PresenceLifetime < time.Second {
		return fmt.Errorf("hub: Config.PresenceLifetime is %v: it must be at least 1s, or 0 for the default", c.PresenceLifetime)
	}
	return nil
}
