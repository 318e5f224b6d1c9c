package embedded

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"go.uber.org/zap"
)

// ErrRestart is in an error of Health if only another start of the server helps: it could not write to its disk, and has given up a
// stream, or JetStream.
var ErrRestart = errors.New("the server has to be started again")

// ailing is what JetStream says of itself and of the replicas here.
type ailing struct {
	reason error
	since  time.Time
}

// A replica that is behind for a moment is nothing to tell.
const (
	ailingEvery    = time.Second
	ailingPatience = 5 * time.Second
)

// examine asks JetStream whether it and the replicas here are well.
func (s *Server) examine() error {
	var all []error
	for _, e := range s.server.Healthz(&server.HealthzOptions{Details: true}).Errors {
		err := fmt.Errorf("embedded: %s", e.Error)
		if strings.Contains(e.Error, "write error") {
			err = fmt.Errorf("%w: %w", err, ErrRestart)
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

// examined keeps what examine has found, and logs when it is long enough that Health tells it.
func (s *Server) examined(reason error) {
	s.mu.Lock()
	was := s.ailing
	switch {
	case reason == nil:
		s.ailing = ailing{}
	case was.reason == nil:
		s.ailing = ailing{reason: reason, since: time.Now()}
	default:
		s.ailing.reason = reason
	}
	is := s.ailing
	tells := is.tells() != nil
	s.mu.Unlock()
	if tells == s.told {
		return
	}
	s.told = tells
	if tells {
		s.config.Logger.Error("nats: JetStream does not work as it should", zap.Error(reason))
	} else {
		s.config.Logger.Info("nats: JetStream works again")
	}
}

// tells is what Health says of it.
func (a *ailing) tells() error {
	if a.reason == nil || time.Since(a.since) < ailingPatience && !errors.Is(a.reason, ErrRestart) {
		return nil
	}
	return a.reason
}
