package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"runtime/debug"
	"syscall"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/stage"
	"github.com/sockmill/sockmill/engine/internal/tunnel"
)

// line is a connection of an attempt, on which the protocol is to begin.
type line struct {
	nc    net.Conn
	early []byte     // came from it already
	tls   *stage.TLS // nil without TLS
}

// connect makes the TCP or unix connection, through a proxy if there is one, and the
// TLS handshake.
func (d *dialing) connect() (*line, error) {
	d.startClock()
	ctx, cancel := context.WithTimeout(d.ctx, min(d.Timeout, limit.Longest))
	defer cancel()
	defer context.AfterFunc(d.e.life.serving, cancel)()
	l, err := d.reach(ctx)
	var late net.Error
	switch {
	case err == nil:
		return l, nil
	case d.e.life.serving.Err() != nil:
		return nil, ErrStopped
	case d.ctx.Err() != nil:
		return nil, context.Cause(d.ctx)
	case errors.As(err, &late) && late.Timeout():
		return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return nil, err
}

// reach does what connect does, and closes what it made if it fails. It recovers from
// a panic of a function of the program, such as Dial.Proxy.
func (d *dialing) reach(ctx context.Context) (l *line, err error) {
	t, nc := d.target, net.Conn(nil)
	defer func() {
		if err != nil && nc != nil {
			_ = nc.Close()
		}
	}()
	defer d.recoverTo(&err)
	proxy, err := d.proxy()
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{LocalAddr: d.LocalAddr, Control: d.control, KeepAlive: -1} // the engine pings
	dialer.SetMultipathTCP(false)                                                   // like listeners: see loop.Listen
	address := t.address
	if proxy != nil {
		address = tunnel.Addr(proxy)
	}
	if nc, err = dialer.DialContext(ctx, t.network, address); err != nil {
		return nil, err
	}
	l = &line{nc: nc}
	if proxy != nil {
		l.early, err = tunnel.Connect(ctx, nc, t.address, proxy)
	}
	if err == nil && t.tls != nil {
		l.tls, l.early = stage.Client(nc, l.early, t.tls), nil
		if err = l.tls.Handshake(ctx); err != nil {
			err = handshakeError(ctx, err)
		}
	}
	return l, err
}

// handshakeError says what the error of a TLS handshake may mean.
func handshakeError(ctx context.Context, err error) error {
	var head tls.RecordHeaderError
	switch {
	case errors.As(err, &head) && (head.RecordHeader[0] < 20 || head.RecordHeader[0] > 23): // no record (RFC 8446 §5.1)
		return fmt.Errorf("the server does not speak TLS on this port, its answer begins with %q: use a URL without TLS, such as ws://: %w", head.RecordHeader, err)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("the server ended the stream in the TLS handshake, so its port may not speak TLS: %w", err)
	case ctx.Err() != nil:
		return fmt.Errorf("in the TLS handshake: %w", err)
	}
	return err
}

// recoverTo is deferred where functions of the program are called: a panic is an error.
func (d *dialing) recoverTo(err *error) {
	if v := recover(); v != nil {
		d.e.log.Error("a function of a Dial panicked; its attempt has failed", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
		*err = fmt.Errorf("%w: %v", errPanic, v)
	}
}

// control calls Dial.Control. A panic of it would leave the socket open.
func (d *dialing) control(network, address string, c syscall.RawConn) (err error) {
	if d.Control == nil {
		return nil
	}
	defer d.recoverTo(&err)
	return d.Control(network, address, c)
}

// proxy is the one of the next attempt; nil: none.
func (d *dialing) proxy() (*url.URL, error) {
	if d.Proxy == nil || d.target.network == "unix" {
		return nil, nil
	}
	u, err := url.Parse(d.target.full)
	if err != nil {
		return nil, err
	}
	proxy, err := d.Proxy(u)
	switch {
	case err != nil:
		return nil, fmt.Errorf("engine: Dial.Proxy: %w", err)
	case proxy != nil && proxy.Scheme != "http":
		return nil, fmt.Errorf("engine: Dial.Proxy: a proxy of the scheme %q is not supported: it must be http", proxy.Scheme)
	}
	return proxy, nil
}

// ProxyError is found in DialError.Err if a proxy refused the tunnel: it has the status of
// its answer.
type ProxyError = tunnel.Error

// ProxyFromEnvironment is a Dial.Proxy that follows HTTP_PROXY, HTTPS_PROXY and NO_PROXY by
// the rules of http.ProxyFromEnvironment: HTTPS_PROXY is for wss and tls, HTTP_PROXY for the
// others. Any goroutine may call it.
func ProxyFromEnvironment(target *url.URL) (*url.URL, error) { return tunnel.FromEnvironment(target) }
