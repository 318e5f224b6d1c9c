package engine

import (
	"crypto/tls"
	"errors"
	"net"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/stage"
)

// sealedConn is a TLS connection that came from a loop to the http.Server, with
// the plaintext that was read there. Below its TLS lies a handedConn, which has its
// place and bounds its time.
type sealedConn struct {
	*tls.Conn
	low  *handedConn
	head []byte
}

func newSealedConn(t *stage.TLS, low *handedConn) *sealedConn {
	low.sealed = true
	head := low.head
	low.head = nil
	return &sealedConn{Conn: t.Attach(low), low: low, head: head}
}

func (c *sealedConn) Read(b []byte) (int, error) {
	if len(c.head) > 0 {
		n := copy(b, c.head)
		c.head = c.head[n:]
		return n, nil
	}
	return c.low.read(c.Conn, b)
}

// The deadlines are those below TLS: see handedConn.
func (c *sealedConn) SetDeadline(t time.Time) error      { return c.low.SetDeadline(t) }
func (c *sealedConn) SetReadDeadline(t time.Time) error  { return c.low.SetReadDeadline(t) }
func (c *sealedConn) SetWriteDeadline(t time.Time) error { return c.low.SetWriteDeadline(t) }

// CloseWrite sends close_notify, and then ends the stream.
func (c *sealedConn) CloseWrite() error {
	return errors.Join(c.Conn.CloseWrite(), c.low.CloseWrite())
}

// handedOf returns the handedConn of a connection of the http.Server.
func handedOf(c net.Conn) *handedConn {
	switch c := c.(type) {
	case *handedConn:
		return c
	case *sealedConn:
		return c.low
	}
	if t := stage.Of(c); t != nil { // HTTP/2
		low, _ := t.Attached().(*handedConn)
		return low
	}
	return nil
}

var errHTTP2 = errors.New("engine: the client wants HTTP/2, and Config.HTTP is nil")

// serveHTTP2 gives a connection to the http.Server whose client chose HTTP/2.
func (ep *endpoint) serveHTTP2(s *shaking, t *stage.TLS) {
	if ep.http == nil {
		ep.e.log.Error("ALPN of Config.TLS offers h2, which only Config.HTTP could serve", zap.Error(errHTTP2))
		ep.gate.Leave(&s.pass)
		_ = s.nc.Close()
		return
	}
	low := newHandedConn(ep.http, s.nc, s.nc.RemoteAddr(), nil)
	low.sealed = true
	low.in.setFree() // HTTP/2 reads all the time
	ep.gate.Opened(&s.pass)
	low.pass, _ = ep.gate.Move(&s.pass)
	t.Detach()
	conn := t.Attach(low)
	select {
	case ep.http.queue <- conn:
	default:
		ep.gate.Refuse(admit.Handover)
		_ = low.Close()
	}
}

// TLSListener returns a listener for an http.Server of the program that ends TLS and
// gives its handshakes to Engine.ServeHTTP or Engine.Upgrade: from its connections
// the socket and the TLS session can be taken to a loop. It is in place of
// tls.NewListener:
//
//	err := server.Serve(engine.TLSListener(l, config))
//
// For HTTP/2, NextProtos of config must be "h2", "http/1.1". config must not be
// changed afterwards.
func TLSListener(l net.Listener, config *tls.Config) net.Listener {
	if config == nil {
		config = new(tls.Config) // each handshake then says that there is no certificate
	}
	return &tlsListener{l, config}
}

type tlsListener struct {
	net.Listener
	config *tls.Config
}

// Accept returns a *tls.Conn, whose handshake is yet to come.
func (l *tlsListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return stage.Server(nc, nil, l.config).Conn(), nil
}
