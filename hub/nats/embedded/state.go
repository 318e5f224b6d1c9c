package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// state is what a server is connected to.
type state struct {
	running   bool
	jetStream bool
	size      int               // servers of the cluster, this one among them; 1: alone
	routes    map[string]string // IDs of the others that are connected, by their names
	duplicate bool              // another server of the same name tries to connect
	leader    string            // the name of the leader that decides about streams; empty: none
}

func (s *Server) look() state {
	t := state{running: s.server.Running(), jetStream: s.server.JetStreamEnabled(), size: 1 + len(s.others), routes: s.routes(), duplicate: s.log.hasDuplicate()}
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
		all = append(all, fmt.Errorf("embedded: JetStream is off: %w", ErrRestart))
	}
	if t.duplicate {
		all = append(all, errors.New("embedded: another server of the same name is connected"))
	}
	if t.cut() {
		all = append(all, fmt.Errorf("embedded: connected to %d of %d servers: a majority is needed", 1+len(t.routes), t.size))
	}
	if t.size > 1 && t.leader == "" {
		all = append(all, errors.New("embedded: the cluster has no leader for its streams"))
	}
	return errors.Join(all...)
}

// cut reports whether the server is cut off from the majority.
func (t *state) cut() bool { return 1+len(t.routes) < majority(t.size) }

func (t *state) same(u *state) bool {
	return t.leader == u.leader && t.jetStream == u.jetStream && maps.Equal(t.routes, u.routes)
}

// ready waits until the server is ready.
func (s *Server) ready(ctx context.Context, p *peers) error {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	progress := time.NewTicker(progressEvery)
	defer progress.Stop()
	for {
		t := s.look()
		reason := t.health()
		if reason == nil {
			if reason = s.answers(ctx); reason == nil {
				s.state = t
				return nil
			}
		}
		if err := s.log.fatal(); err != nil {
			return fmt.Errorf("embedded: %w", err)
		}
		select {
		case <-poll.C:
		case <-progress.C:
			p.ask(ctx, t.routes)
			if err := p.hopeless(); err != nil {
				return err
			}
			s.config.Logger.Info("nats: waiting for the cluster", zap.NamedError("reason", reason), zap.Strings("missing", p.missing(t.routes)))
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("embedded: %w", ctx.Err()), reason, fmt.Errorf("missing: %s", strings.Join(p.missing(t.routes), "; ")))
		}
	}
}

// answers asks JetStream for something that the leader has to answer. That it is there is not enough: at first, its server may not
// have heard from it that requests have to be sent there, and loses them.
func (s *Server) answers(ctx context.Context) error {
	conn, err := natsgo.Connect("", natsgo.InProcessServer(s))
	if err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, progressEvery/4)
	defer cancel()
	m, err := conn.RequestWithContext(ctx, "$JS.API.INFO", nil)
	if err != nil {
		return fmt.Errorf("embedded: no answer from JetStream: %w", err)
	}
	var answer struct{ Error *server.ApiError }
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return fmt.Errorf("embedded: the answer of JetStream: %w", err)
	}
	if answer.Error != nil {
		return fmt.Errorf("embedded: JetStream answers: %w", answer.Error)
	}
	return nil
}

const (
	pollEvery     = 100 * time.Millisecond
	progressEvery = 2 * time.Second
)

// watch notices changes until the server is stopped.
func (s *Server) watch() {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	examine := time.NewTicker(ailingEvery)
	defer examine.Stop()
	for {
		select {
		case <-poll.C:
		case <-examine.C:
			s.examined(s.examine())
			continue
		case <-s.quit:
			return
		}
		t := s.look()
		s.mu.Lock()
		was := s.state
		if !t.same(&was) {
			s.state = t
			close(s.changed)
			s.changed = make(chan struct{})
		}
		s.mu.Unlock()
		s.report(&was, &t)
		if t.cut() && !was.cut() {
			s.stepDown()
		}
	}
}

// stepDown gives up the streams that this server leads, when it has lost the majority. NATS itself does that ten seconds later; until then, a
// publish would wait for its whole timeout, and each would have to be taken back later, which takes the server seconds for each.
func (s *Server) stepDown() {
	account := s.server.GlobalAccount().GetName()
	d, err := s.server.JszAccount(&server.JSzOptions{Account: account, Streams: true, StreamLeaderOnly: true})
	if err != nil {
		return // JetStream is off
	}
	for _, stream := range d.Streams {
		if err := s.server.JetStreamStepdownStream(account, stream.Name); err != nil {
			s.config.Logger.Warn("nats: a stream cannot be given up", zap.String("stream", stream.Name), zap.Error(err))
		}
	}
}

// report logs what has changed.
func (s *Server) report(was, is *state) {
	log := s.config.Logger
	for _, name := range slices.Sorted(maps.Keys(is.routes)) {
		if was.routes[name] == "" {
			log.Info("nats: connected to a server of the cluster", zap.String("server", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(was.routes)) {
		if is.routes[name] == "" {
			log.Warn("nats: the connection to a server of the cluster is lost", zap.String("server", name))
		}
	}
	if was.leader != is.leader {
		log.Info("nats: another server leads the cluster", zap.String("server", is.leader))
	}
	if was.jetStream && !is.jetStream {
		log.Error("nats: JetStream is off")
	}
}
