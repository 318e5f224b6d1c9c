package nats

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"

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

// link is the state of the connection. nats.go holds its lock while it dials, so nothing that must not wait may ask it.
type link struct {
	live    atomic.Bool   // connected, and the subscriptions are in force at the server
	payload atomic.Int64  // bytes that the server takes in a message
	wake    chan struct{} // something here has changed
	closed  chan struct{} // closed when nats.go will call nothing any more

	changed <-chan struct{} // the first one that watch waits for

	mu     sync.Mutex // guards what follows
	up     bool       // connected
	losses uint64     // how often the connection was lost
}

// hooks are for the parts that want to know of the connection. They are added while New runs, and called one after the other on a goroutine of
// the broker. They must not block for longer than one call of NATS takes. Their context ends with Close.
type hooks struct {
	mu           sync.Mutex
	disconnected []func(ctx context.Context)
	reconnected  []func(ctx context.Context)
	changed      []func(ctx context.Context)
}

// onDisconnect adds a hook for when the connection was lost.
func (b *Broker) onDisconnect(f func(ctx context.Context)) {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	b.hooks.disconnected = append(b.hooks.disconnected, f)
}

// onReconnect adds a hook for when the connection is there again and this node gets again what it follows. Without Config.NoHistory
// it is up to a hook to call Interrupted where something may have been lost.
func (b *Broker) onReconnect(f func(ctx context.Context)) {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	b.hooks.reconnected = append(b.hooks.reconnected, f)
}

// onChange adds a hook for when the server, if it is one in this process that tells, is connected to other servers than before, or has another leader.
func (b *Broker) onChange(f func(ctx context.Context)) {
	b.hooks.mu.Lock()
	defer b.hooks.mu.Unlock()
	b.hooks.changed = append(b.hooks.changed, f)
}

func (b *Broker) call(ctx context.Context, hooks *[]func(ctx context.Context)) {
	b.hooks.mu.Lock()
	all := slices.Clone(*hooks)
	b.hooks.mu.Unlock()
	for _, f := range all {
		f(ctx)
	}
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

func (b *Broker) connectionLost(err error) {
	if b.closed.Load() {
		return
	}
	b.link.mu.Lock()
	b.link.up, b.link.losses = false, b.link.losses+1
	b.link.live.Store(false)
	b.link.mu.Unlock()
	if err == nil {
		err = errors.New("closed by the server")
	}
	b.counts.disconnects.Add(1)
	b.health.set("connection", fmt.Errorf("nats: the connection to NATS is lost: %w", err))
	b.log.Warn("the connection to NATS is lost", zap.Error(err))
	b.wakeWatch()
}

// connectionClosed is called after Close, or when nats.go has given up.
func (b *Broker) connectionClosed() {
	close(b.link.closed)
	if b.closed.Load() {
		return
	}
	b.link.live.Store(false)
	err := fmt.Errorf("nats: the connection to NATS has ended for good: %w", cmp.Or(b.conn.LastError(), natsgo.ErrConnectionClosed))
	b.health.set("connection", err)
	b.log.Error("the connection to NATS has ended for good", zap.Error(err))
}

func (b *Broker) connectionBack() {
	b.link.mu.Lock()
	b.link.up = true
	b.link.mu.Unlock()
	b.wakeWatch()
}

// failedLater is called for what nats.go or the server cannot tell a caller.
func (b *Broker) failedLater(err error) {
	if errors.Is(err, natsgo.ErrSlowConsumer) {
		b.wakeWatch() // which looks at all shards
		return
	}
	if refused(err) {
		b.health.set("refused", fmt.Errorf("nats: the server does not allow what is needed: %w", err))
	}
	b.seldom.Warn("NATS reports an error", zap.Error(err))
}

func (b *Broker) wakeWatch() {
	select {
	case b.link.wake <- struct{}{}:
	default:
	}
}

// watch follows the connection, looks for messages that were dropped, and ends what is not followed any more.
func (b *Broker) watch(ctx context.Context) {
	often, grace := time.NewTicker(watchInterval), time.NewTicker(b.cfg.Grace)
	defer often.Stop()
	defer grace.Stop()
	changed := b.link.changed
	var told uint64 // of link.losses
	for {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			changed = b.cfg.changed()
			b.call(ctx, &b.hooks.changed)
			continue
		case now := <-grace.C:
			b.sweep(now)
			continue
		case <-often.C:
		case <-b.link.wake:
		}
		b.tellLost()
		b.link.mu.Lock()
		up, losses := b.link.up, b.link.losses
		b.link.mu.Unlock()
		if losses != told {
			told = losses
			b.call(ctx, &b.hooks.disconnected)
		}
		if up && !b.live() {
			b.resume(ctx, losses)
		}
	}
}

// resume is called until this node gets again what it follows.
func (b *Broker) resume(ctx context.Context, losses uint64) {
	limited, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	if b.conn.FlushWithContext(limited) != nil {
		return // lost again, or too slow: watch comes again
	}
	err := b.checkServer()
	b.health.set("version", err)
	if err != nil {
		b.seldom.Error("NATS is not what is needed", zap.Error(err))
		return
	}
	b.link.mu.Lock()
	same := b.link.up && b.link.losses == losses
	if same {
		b.link.live.Store(true)
	}
	b.link.mu.Unlock()
	if !same {
		return
	}
	b.health.set("connection", nil)
	b.health.set("refused", nil)
	b.log.Info("connected to NATS again", zap.String("server", b.conn.ConnectedUrlRedacted()))
	if b.cfg.NoHistory {
		b.interruptAll()
	}
	b.call(ctx, &b.hooks.reconnected)
}

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
