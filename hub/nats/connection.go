package nats

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// How soon it is noticed that a server of another process does not answer any more: it is asked each second, and may leave two questions open. One in
// this process cannot be silent but for too much work, and that is no reason to lose the connection.
const (
	pingInterval    = time.Second
	pingWithin      = time.Minute
	pingsOpen       = 2
	dialTimeout     = 2 * time.Second
	writeTimeout    = 2 * time.Second // nothing else can be written meanwhile
	reconnectWait   = 250 * time.Millisecond
	reconnectJitter = 100 * time.Millisecond
	watchInterval   = time.Second
)

// changing and healthy are what Config.Server may have too, as embedded.Server does.
type changing interface {
	Changed() <-chan struct{} // closed at the next change
}

type healthy interface {
	Health() error // does not wait
}

// changed returns what is closed at the next change of Config.Server; nil: it does not tell.
func (c *Config) changed() <-chan struct{} {
	if s, ok := c.Server.(changing); ok {
		return s.Changed()
	}
	return nil
}

// connect is the first thing that New does.
func (b *Broker) connect(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	b.link.changed = b.cfg.changed()
	options := slices.Clone(b.cfg.Options)
	if b.cfg.Server != nil {
		options = append(options, natsgo.InProcessServer(b.cfg.Server))
	}
	conn, err := natsgo.Connect(b.cfg.URL, append(options, b.settleOptions)...)
	if err != nil {
		return fmt.Errorf("nats: cannot connect to %s: %w", b.cfg.server(), err)
	}
	b.conn = conn
	if err := b.checkServer(); err != nil {
		return err
	}
	if err := b.checkAllowed(ctx); err != nil {
		return err
	}
	b.link.mu.Lock()
	if b.link.losses == 0 {
		b.link.up = true
		b.link.live.Store(true)
	}
	b.link.mu.Unlock()
	b.run(b.watch)
	for i := range b.lanes {
		b.run(b.lanes[i].deliver(b))
	}
	return nil
}

// settleOptions sets what this package needs, whatever Config.Options say.
func (b *Broker) settleOptions(o *natsgo.Options) error {
	o.Name = "sockmill " + b.cfg.Node
	o.RetryOnFailedConnect = false
	o.AllowReconnect, o.MaxReconnect = true, -1
	o.ReconnectWait, o.ReconnectJitter, o.ReconnectJitterTLS, o.CustomReconnectDelayCB = reconnectWait, reconnectJitter, reconnectJitter, nil
	o.IgnoreAuthErrorAbort = true // credentials may become good again
	o.ReconnectBufSize = -1       // what is published while there is no connection fails
	o.ReconnectOnFlusherError = true
	o.PingInterval, o.MaxPingsOut = pingInterval, pingsOpen
	if b.cfg.Server != nil {
		o.PingInterval = pingWithin
	}
	o.Timeout, o.FlusherTimeout = dialTimeout, writeTimeout
	o.SkipSubjectValidation = true // ours are valid
	o.NoEcho, o.NoCallbacksAfterClientClose = false, false
	o.DisconnectedCB, o.ConnectedCB = nil, nil
	o.DisconnectedErrCB = func(_ *natsgo.Conn, err error) { b.connectionLost(err) }
	o.ReconnectedCB = func(*natsgo.Conn) { b.connectionBack() }
	o.AsyncErrorCB = func(_ *natsgo.Conn, _ *natsgo.Subscription, err error) { b.failedLater(err) }
	o.ClosedCB = func(*natsgo.Conn) { b.connectionClosed() }
	return nil
}

// server names the NATS server for people, without passwords.
func (c *Config) server() string {
	if c.Server != nil {
		return "the NATS server in this process"
	}
	all := strings.Split(c.URL, ",")
	for i, s := range all {
		if u, err := parseURL(s); err == nil {
			all[i] = u.Redacted()
		}
	}
	return strings.Join(all, ", ")
}

// parseURL reads a URL as nats.go does. Its errors do not have what was read: there may be a password in it.
func parseURL(s string) (*url.URL, error) {
	s = strings.TrimSpace(s)
	if !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	u, err := url.Parse(s)
	var bad *url.Error
	if errors.As(err, &bad) {
		return nil, bad.Err
	}
	return u, err
}

// checkServer fails if the server is too old.
func (b *Broker) checkServer() error {
	b.link.payload.Store(b.conn.MaxPayload())
	var major, minor int
	version := b.conn.ConnectedServerVersion()
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil || major < 2 || major == 2 && minor < 11 {
		return fmt.Errorf("nats: %s has the version %q: it must be at least 2.11", b.cfg.server(), version)
	}
	return nil
}

// checkAllowed fails if the server does not allow this node to publish to channels and to subscribe to them. Nobody takes what it publishes for a
// publication.
func (b *Broker) checkAllowed(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	sub, err := b.conn.ChanSubscribe(b.shardSubject(0), make(chan *natsgo.Msg, 1))
	if err == nil {
		err = b.conn.Publish(b.livePrefix+"0.%", nil)
	}
	if err == nil {
		err = b.conn.FlushWithContext(limited)
	}
	if err == nil {
		err = sub.Unsubscribe()
	}
	if err != nil {
		return fmt.Errorf("nats: %s does not answer: %w", b.cfg.server(), err)
	}
	if err := b.conn.LastError(); refused(err) {
		return fmt.Errorf("nats: %s does not allow what is needed: %w", b.cfg.server(), err)
	}
	return nil
}

// refused reports whether the server has said no. It says so before it answers a later ping.
func refused(err error) bool {
	return errors.Is(err, natsgo.ErrPermissionViolation) || errors.Is(err, natsgo.ErrMaxSubscriptionsExceeded)
}

// disconnect is the last thing that Close does.
func (b *Broker) disconnect() {
	b.link.live.Store(false)
	if b.conn != nil {
		b.conn.Close()
		<-b.link.closed
	}
}

// live reports whether there is a connection, and whether this node gets what it follows. It does not wait.
func (b *Broker) live() bool { return b.link.live.Load() }

// up fails with broker.ErrUnavailable, or broker.ErrClosed, unless live.
func (b *Broker) up() error {
	switch {
	case b.live():
		return nil
	case b.closed.Load():
		return broker.ErrClosed
	}
	return errDisconnected
}

var (
	errDisconnected = fmt.Errorf("%w: there is no connection to NATS", broker.ErrUnavailable)
	errSlow         = fmt.Errorf("%w: NATS does not answer", broker.ErrUnavailable)
)

func (b *Broker) tooLarge() error {
	return fmt.Errorf("%w: the NATS server takes at most %d bytes", broker.ErrTooLarge, b.link.payload.Load())
}

// failed makes an error of package broker of an error of nats.go.
func (b *Broker) failed(err error) error {
	switch {
	case err == nil:
		return nil
	case b.closed.Load():
		return broker.ErrClosed
	case errors.Is(err, natsgo.ErrMaxPayload):
		return b.tooLarge()
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	}
	return fmt.Errorf("%w: %w", broker.ErrUnavailable, err)
}
