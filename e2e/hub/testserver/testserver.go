// Package testserver is the hub that the SDKs are tested with: what examples/hub has, and namespaces, RPC and short times.
package testserver

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/centrifugal"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// Config says how to run.
type Config struct {
	Addr   string // where to listen
	Secret string // of tokens
	APIKey string
	Logger *zap.Logger
}

// Run serves until ctx ends. It calls listening when clients may connect.
func Run(ctx context.Context, cfg Config, listening func(net.Addr)) error {
	tokens, err := token.New(token.Config{Secret: []byte(cfg.Secret)})
	if err != nil {
		return err
	}
	e, err := engine.New(engine.Config{Logger: cfg.Logger}, engine.Handler{})
	if err != nil {
		return err
	}
	s, err := centrifugal.New(e, centrifugal.Config{
		Hub:          hub.Config{Channel: centrifugal.Namespaces(namespaces()), Hooks: hub.Hooks{RPC: call}},
		Tokens:       tokens,
		PingInterval: 2 * time.Second,
		PongTimeout:  time.Second,
		ExpiryGrace:  2 * time.Second,
		Logger:       cfg.Logger,
	})
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	api := s.API(centrifugal.APIConfig{Keys: []string{cfg.APIKey}})
	mux.Handle("/api", api)
	mux.Handle("/api/", api)
	l, err := e.Listen(engine.Config{Addr: cfg.Addr, HTTP: mux, SlowCode: centrifugal.DisconnectSlow.Code}, s.Handler())
	if err != nil {
		return err
	}
	listening(l.Addr())
	return serve(ctx, e, s)
}

// serve runs the engine until ctx ends; then clients are told to come back, before the engine ends.
func serve(ctx context.Context, e *engine.Engine, s *centrifugal.Server) error {
	running, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	done := make(chan error, 1)
	go func() { done <- e.Run(running) }()
	select {
	case err := <-done: // it could not go on
		return err
	case <-ctx.Done():
	}
	closing, cancel := context.WithTimeout(running, 3*time.Second)
	defer cancel()
	err := s.Close(closing)
	end()
	return errors.Join(err, <-done)
}

// namespaces are those of lib/centrifugo.mjs too.
func namespaces() map[string]hub.Options {
	members := hub.Options{
		History: 1000, Lifetime: 5 * time.Minute, Presence: true, JoinLeave: true,
		Join: hub.Everybody, Publish: hub.Members, ReadHistory: hub.Members, ReadPresence: hub.Members,
	}
	cache, short := members, members
	cache.History, cache.Latest = 10, true
	short.History = 5
	return map[string]hub.Options{
		"":      members,
		"bare":  {Join: hub.Everybody},
		"open":  {Join: hub.Everybody, Publish: hub.Everybody},
		"cache": cache,
		"short": short,
	}
}

func call(_ context.Context, c *hub.Client, method string, data []byte) ([]byte, error) {
	switch method {
	case "echo":
		return data, nil
	case "whoami":
		return json.Marshal(map[string]string{"user": c.User()})
	case "fail":
		return nil, centrifugal.Error{Code: 4000, Message: "no luck", Temporary: true}
	case "leave":
		return nil, centrifugal.Disconnect{Code: 4500, Reason: "you asked for it"}
	}
	return nil, hub.ErrMethod
}
