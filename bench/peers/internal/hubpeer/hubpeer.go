// Package hubpeer is what the peers with sockmill's hub have in common: the Centrifugal protocol, every option at its
// default, on one loop, but for the rate of commands, which others do not limit.
package hubpeer

import (
	"context"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/centrifugal"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// Options are what the peers have flags for.
type Options struct {
	Listen   string
	Secret   string // of the tokens (HS256)
	History  int    // publications that a channel keeps, for Lifetime; 0: none, and no positions
	Presence bool   // who is in a channel is known, and everybody may ask

	Broker interface {
		broker.Broker
		broker.History
		broker.Presence
	}
}

// Lifetime is that of a publication in a history.
const Lifetime = time.Hour

// Log tells warnings on stderr.
func Log() *zap.Logger {
	return zap.Must(zap.NewDevelopment(zap.IncreaseLevel(zap.WarnLevel), zap.AddStacktrace(zap.FatalLevel)))
}

// Serve calls ready with its address, and serves until ctx ends.
func Serve(ctx context.Context, o Options, log *zap.Logger, ready func(addr string)) error {
	tokens, err := token.New(token.Config{Secret: []byte(o.Secret)})
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Deflate: engine.DeflateOff, Logger: log}, engine.Handler{})
	if err != nil {
		return err
	}
	channel := hub.Options{
		History: o.History, Presence: o.Presence,
		Join: hub.Everybody, Publish: hub.Everybody, ReadPresence: hub.Everybody,
	}
	if o.History > 0 {
		channel.Lifetime = Lifetime
	}
	cfg := hub.Config{
		Broker: o.Broker, History: o.Broker, Presence: o.Broker,
		Channel: func(string) (hub.Options, error) { return channel, nil },
	}
	s, err := centrifugal.New(e, centrifugal.Config{Tokens: tokens, Hub: cfg, Logger: log})
	if err != nil {
		return err
	}
	l, err := e.Listen(engine.Config{Addr: "ws://" + o.Listen, SlowCode: 3008}, s.Handler())
	if err != nil {
		return err
	}
	ready(l.Addr().String())
	return e.Run(ctx)
}
