package centrifugal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// Config says how a Server works. New refuses a value outside its range. A limit of 0 is the default; where it is said,
// engine.NoLimit is none.
type Config struct {
	// Hub is what hub.New gets. Formats, Encode, Joining, OnLeft and OnCommand must be empty: they are the Server's. What a hook
	// needs to know beside its arguments, RequestOf returns.
	Hub hub.Config

	// Tokens verifies connection and subscription tokens. nil: a client with a connection token is refused with 3500, unless
	// Hub.Hooks.Connect is set, which then finds the token in RequestOf; subscription tokens are refused with error 103.
	Tokens *token.Verifier

	// Anonymous lets clients without a connection token in, as the user "". Without it they are refused with error 101, unless
	// Hub.Hooks.Connect is set, which then decides.
	Anonymous bool

	// OnUpgrade sees the request of a client before the connection opens: its cookies, for example. What it returns is
	// Request.State; with an error the handshake is refused: see engine.Handler.OnUpgrade. It runs on a loop and must not
	// block. It must not set the Handler, State and Subprotocol of u. nil: everybody may open a connection.
	OnUpgrade func(u *engine.Upgrade) (state any, err error)

	// OnSend gets what a client sends without waiting for an answer (the command send). It runs off the loop and may block.
	// A Disconnect that it returns closes the connection; other errors are logged. nil: whoever sends is closed with 3508.
	OnSend func(ctx context.Context, c *hub.Client, data []byte) error

	Path string // of the WebSocket, percent-encoded as clients send it; others get 404: "/connection/websocket"

	PingInterval   time.Duration // between the pings to a client: 25 s, at least 1 s; engine.NoLimit: none are sent
	PongTimeout    time.Duration // for the answer, less than PingInterval; then 3012: 10 s; engine.NoLimit: no answer is asked for
	ConnectTimeout time.Duration // from the opening of a connection to its connect command being accepted; then 3502: 10 s
	CommandTimeout time.Duration // of the context of a command, which hooks and the program's brokers get: 10 s; engine.NoLimit: none
	ExpiryGrace    time.Duration // from the expiry of a token to the end of its connection (3005) or subscription (2501): 25 s

	CommandsPerSecondMax int // of a client: above, error 111; above twice of it, or where no answer is due, 3013: 1,000; engine.NoLimit: none
	CommandsPerFrameMax  int // above, 3501: 1,000
	FrameBytesMax        int // of a message from a client; above, 1009: 64 KiB. engine.Config.MessageBytesMax bounds what is read before that
	ChannelNameMax       int // bytes of the name of a channel; above, error 107: 255, which is the most
	HistoryMax           int // publications that a history command returns at most: 1,000
	ReplyBytesMax        int // of what a history, a presence or a recovery tells: of the history less is told, presence fails with error 106, and more is not recovered: 4 MiB

	Logger *zap.Logger // nil: that of the engine. It is the hub's too, unless Config.Hub has its own
}

// settle checks the fields and fills in the defaults.
func (c *Config) settle() error {
	h := &c.Hub
	if h.Formats != 0 || h.Encode != nil || h.Joining != nil || h.OnLeft != nil || h.OnCommand != nil {
		return errors.New("centrifugal: Config.Hub has a value for Formats, Encode, Joining, OnLeft or OnCommand: the Server sets them")
	}
	if c.Path == "" {
		c.Path = "/connection/websocket"
	}
	if c.Path[0] != '/' {
		return fmt.Errorf("centrifugal: Config.Path is %q: it must begin with /", c.Path)
	}
	for _, r := range []struct {
		name          string
		field         *time.Duration
		def, min, max time.Duration
		noLimit       bool
	}{
		{"PingInterval", &c.PingInterval, 25 * time.Second, time.Second, 24 * time.Hour, true},
		{"PongTimeout", &c.PongTimeout, 10 * time.Second, 10 * time.Millisecond, 24 * time.Hour, true},
		{"ConnectTimeout", &c.ConnectTimeout, 10 * time.Second, 10 * time.Millisecond, 24 * time.Hour, false},
		{"CommandTimeout", &c.CommandTimeout, 10 * time.Second, 10 * time.Millisecond, 24 * time.Hour, true},
		{"ExpiryGrace", &c.ExpiryGrace, 25 * time.Second, time.Millisecond, 24 * time.Hour, false},
	} {
		if *r.field == 0 {
			*r.field = r.def
		}
		if v := *r.field; (v < r.min || v > r.max) && (!r.noLimit || v != engine.NoLimit) {
			return fmt.Errorf("centrifugal: Config.%s is %v: it must be from %v to %v, or 0 for the default", r.name, v, r.min, r.max)
		}
	}
	if c.PingInterval > 0 && c.PongTimeout >= c.PingInterval {
		return fmt.Errorf("centrifugal: Config.PongTimeout is %v: it must be less than PingInterval, which is %v", c.PongTimeout, c.PingInterval)
	}
	return c.settleNumbers()
}

func (c *Config) settleNumbers() error {
	const most = 1<<31 - 1
	for _, r := range []struct {
		name          string
		field         *int
		def, min, max int
		noLimit       bool
	}{
		{"CommandsPerSecondMax", &c.CommandsPerSecondMax, 1000, 1, most / 2, true},
		{"CommandsPerFrameMax", &c.CommandsPerFrameMax, 1000, 1, 100_000, false},
		{"FrameBytesMax", &c.FrameBytesMax, 64 << 10, 256, 64 << 20, false},
		{"ChannelNameMax", &c.ChannelNameMax, broker.ChannelBytesMax, 1, broker.ChannelBytesMax, false},
		{"HistoryMax", &c.HistoryMax, 1000, 1, most, false},
		{"ReplyBytesMax", &c.ReplyBytesMax, 4 << 20, 1 << 10, 1 << 30, false},
	} {
		if *r.field == 0 {
			*r.field = r.def
		}
		if v := *r.field; (v < r.min || v > r.max) && (!r.noLimit || v != engine.NoLimit) {
			return fmt.Errorf("centrifugal: Config.%s is %d: it must be from %d to %d, or 0 for the default", r.name, v, r.min, r.max)
		}
	}
	return nil
}
