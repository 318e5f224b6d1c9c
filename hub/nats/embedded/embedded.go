// Package embedded runs a NATS server in the process: alone, or as one of a cluster whose servers keep streams together.
//
// A server takes no signals, writes nothing to the standard output, and exits nothing. What it changes in the process is the rate of
// the profile of blocking operations (runtime.SetBlockProfileRate), which it sets to 0 when it starts.
package embedded

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// Server is a NATS server in this process. All methods may be called from any goroutine.
type Server struct {
	config Config
	server *server.Server
	log    *serverLog
	store  *store
	others []string // the addresses of the other servers; empty: it runs alone

	quit     chan struct{} // closed by Stop
	watching sync.WaitGroup

	mu      sync.Mutex
	state   state
	changed chan struct{} // closed at the next change of state
	ailing  ailing

	told bool // that ailing is logged; only watch uses it

	stopOnce sync.Once
	stopped  chan struct{} // closed when the server has ended
}

// Start starts a server and returns when it is ready: when JetStream answers, for which in a cluster a majority of
// the servers (itself among them) must be connected and have chosen a leader. Until then it logs every two seconds
// what it is waiting for. A server that comes later joins by itself; until it is there, no stream can have a replica on it.
//
// Start fails when ctx ends, and before that if waiting does not help. Nothing is left of a server that failed. Reading the store is not
// interrupted by ctx.
func Start(ctx context.Context, config Config) (*Server, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	s := &Server{
		config:  config,
		log:     newServerLog(config.Logger),
		others:  others(ctx, config.Peers, config.ClusterListen),
		quit:    make(chan struct{}),
		changed: make(chan struct{}),
		stopped: make(chan struct{}),
	}
	var err error
	if s.store, err = openStore(config.Dir, identity{Name: config.Name, Cluster: s.cluster()}); err != nil {
		return nil, err
	}
	if err := s.start(ctx); err != nil {
		s.abort()
		return nil, err
	}
	s.watching.Go(s.watch)
	return s, nil
}

// cluster is the name of the cluster, empty for a server that runs alone.
func (s *Server) cluster() string {
	if len(s.others) == 0 {
		return ""
	}
	return s.config.ClusterName
}

func (s *Server) start(ctx context.Context) error {
	var err error
	if s.server, err = server.NewServer(s.options()); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	p := &peers{s: s, names: map[string]string{}}
	if err := p.settle(ctx); err != nil {
		return err
	}
	s.server.SetLoggerV2(s.log, false, false, false)
	s.server.Start()
	if err := s.log.fatal(); err != nil {
		return fmt.Errorf("embedded: %w", err)
	}
	return s.ready(ctx, p)
}

// abort ends a server that did not become ready.
func (s *Server) abort() {
	if s.server != nil {
		s.server.Shutdown()
	}
	s.store.close()
}

// InProcessConn returns a connection to the server within the process, which needs no credentials. With it, a Server is a
// nats.InProcessConnProvider for nats.InProcessServer.
func (s *Server) InProcessConn() (net.Conn, error) {
	return s.server.InProcessConn()
}

// ClientURL is the URL for clients of other processes; empty if there is no Config.Listen.
func (s *Server) ClientURL() string {
	if s.config.Listen == "" {
		return ""
	}
	return s.server.ClientURL()
}

// Health says whether the server can do its work: nil, or what is wrong, one sentence for each reason: there is no majority, no leader,
// JetStream is off, another server of the same name tries to connect, or a replica here has not been up to date for five seconds.
// With ErrRestart, that does not mend itself.
func (s *Server) Health() error {
	t := s.look()
	if err := t.health(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ailing.tells()
}

// Changed returns a channel that is closed at the next change of what the server is connected to: a server of the cluster came or went, or the
// leader that decides about streams is another one. Messages from other servers may have been lost then. Take the next channel before
// you look at what may be lost.
func (s *Server) Changed() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.changed
}

// Stop hands over to the others what this server leads, and ends it. In a cluster, that takes about a second, and another one for clients that
// have not been closed before. A message that is published to a stream at the moment at which its leader hands over may not be answered, and
// nobody can tell from that whether it is kept: send it again with the same ID. The next leader mostly serves within a second; if
// nobody can take over at once, there is an election, which takes several seconds. If ctx ends first, the server
// ends without waiting for the others, and Stop returns the error of ctx. To stop again waits for the end of the first.
func (s *Server) Stop(ctx context.Context) error {
	s.stopOnce.Do(func() {
		close(s.quit)
		go func() {
			defer close(s.stopped)
			s.watching.Wait()
			if len(s.others) > 0 {
				s.server.LameDuckShutdown()
			}
			s.server.Shutdown()
			s.server.WaitForShutdown()
			s.store.close()
		}()
	})
	select {
	case <-s.stopped:
		return nil
	case <-ctx.Done():
	}
	s.server.Shutdown()
	select {
	case <-s.stopped:
	case <-time.After(stopPatience):
		return errors.Join(ctx.Err(), errors.New("embedded: the server has not ended yet"))
	}
	return ctx.Err()
}

// stopPatience is how long Stop waits for the server to close its files after its context has ended.
const stopPatience = 5 * time.Second
