package embedded

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// state is what a server is connected to.
type state struct {
	running   bool
	jetStream bool
	size      int               // servers of the cluster, this one among them; 1: alone
	routes    map[string]string // IDs of the others that are connected, by their names
	leader    string            // the name of the leader that decides about streams; empty: none
}

func (s *Server) look() state {
	t := state{running: s.server.Running(), jetStream: s.server.JetStreamEnabled(), size: 1 + len(s.others), routes: s.routes()}
	if t.size == 1 {
		return t
	}
	if js, err := s.server.Jsz(&server.JSzOptions{}); err == nil && js.Meta != nil {
		t.leader = js.Meta.Leader
	}
	return t
}

// routes are the IDs of the servers that are connected, by their names.
func (s *Server) routes() map[string]string {
	all := map[string]string{}
	if z, err := s.server.Routez(nil); err == nil {
		for _, r := range z.Routes {
			if r.RemoteName != "" {
				all[r.RemoteName] = r.RemoteID
			}
		}
	}
	return all
}

func (t *state) health() error {
	if !t.running {
		return errors.New("embedded: the server has stopped")
	}
	var all []error
	if !t.jetStream {
		all = append(all, errors.New("embedded: JetStream is off"))
	}
	if have := 1 + len(t.routes); have <= t.size/2 {
		all = append(all, fmt.Errorf("embedded: connected to %d of %d servers: a majority is needed", have, t.size))
	}
	if t.size > 1 && t.leader == "" {
		all = append(all, errors.New("embedded: the cluster has no leader for its streams"))
	}
	return errors.Join(all...)
}

func (t *state) same(u *state) bool {
	return t.leader == u.leader && t.jetStream == u.jetStream && maps.Equal(t.routes, u.routes)
}

// ready waits until the server is ready.
func (s *Server) ready(ctx context.Context) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for {
		t := s.look()
		if t.health() == nil {
			s.state = t
			return nil
		}
		if err := s.log.fatal(); err != nil {
			return fmt.Errorf("embedded: %w", err)
		}
		select {
		case <-poll.C:
		case <-progress.C:
			s.logger().Info("nats: waiting for the cluster", zap.Error(t.health()), zap.String("connected", strings.Join(slices.Sorted(maps.Keys(t.routes)), ", ")))
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ctx.Err(), t.health())
		}
	}
}

const (
	pollEvery     = 100 * time.Millisecond
	progressEvery = 2 * time.Second
)

// watch notices changes until the server is stopped.
func (s *Server) watch() {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	for {
		select {
		case <-poll.C:
		case <-s.quit:
			return
		}
		t := s.look()
		s.mu.Lock()
		if !t.same(&s.state) {
			s.state = t
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.mu.Unlock()
	}
}

// others are the peers without this server itself.
func others(peers []string, own string) []string {
	var all []string
	for _, p := range peers {
		if p != own && !slices.Contains(all, p) {
			all = append(all, p)
		}
	}
	return all
}
