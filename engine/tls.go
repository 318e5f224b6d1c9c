package engine

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime/debug"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/engine/internal/certs"
	"github.com/sockmill/sockmill/engine/internal/limit"
	"github.com/sockmill/sockmill/engine/internal/stage"
	"github.com/sockmill/sockmill/protocol"
)

// SelfSigned makes a certificate for development, valid for 30 days: for the host
// names and IP addresses that are given, or for localhost, 127.0.0.1 and ::1.
// Nobody trusts it. It goes into the Certificates of Config.TLS.
func SelfSigned(hosts ...string) (tls.Certificate, error) { return certs.SelfSigned(hosts...) }

// checkTLS checks what a Config says of TLS; t is its transport.
func (c *Config) checkTLS(t transport) error {
	given := ""
	switch {
	case c.TLS != nil:
		given = "TLS"
	case c.CertFile != "":
		given = "CertFile"
	}
	switch {
	case (c.CertFile == "") != (c.KeyFile == ""):
		return errors.New("engine: Config.CertFile and Config.KeyFile belong together: set both")
	case t.tls && given == "":
		return fmt.Errorf("engine: Config.TLS is nil: %s needs a certificate: set Config.CertFile and Config.KeyFile, or Config.TLS", c.Addr)
	case !t.tls && given != "" && c.Addr != "":
		return fmt.Errorf("engine: Config.%s is set, but %s does not use it: write wss://, https://, tls://, or +tls behind another scheme", given, c.Addr)
	case c.TLS == nil:
		return nil
	}
	own := hasCertificate(c.TLS)
	switch {
	case own && c.CertFile != "":
		return errors.New("engine: Config.CertFile is set, and Config.TLS has Certificates, GetCertificate or GetConfigForClient: choose one")
	case !own && c.CertFile == "":
		return errors.New("engine: Config.TLS has no certificate: set its Certificates or GetCertificate, or Config.CertFile and Config.KeyFile")
	case c.TLS.ClientAuth >= tls.VerifyClientCertIfGiven && c.TLS.ClientCAs == nil && c.TLS.GetConfigForClient == nil:
		return errors.New("engine: Config.TLS has no ClientCAs, so certificates of clients would be verified by the roots of this machine: set it, to x509.SystemCertPool if that is meant")
	case slices.Contains(c.TLS.NextProtos, "h2") && c.HTTP == nil:
		return errors.New("engine: Config.TLS offers h2 in NextProtos, and Config.HTTP is nil: nothing else serves HTTP/2: take it out, or set Config.HTTP")
	}
	return nil
}

func hasCertificate(c *tls.Config) bool {
	return c != nil && (len(c.Certificates) > 0 || c.GetCertificate != nil || c.GetConfigForClient != nil)
}

// inheritTLS takes from the Config of New what c leaves out.
func (c *Config) inheritTLS(base *Config) {
	if t, _, err := c.transport(); err != nil || !t.tls {
		return
	}
	if c.TLS == nil {
		c.TLS = base.TLS
		if c.CertFile != "" && c.TLS != nil {
			c.TLS = c.TLS.Clone()
			c.TLS.Certificates, c.TLS.GetCertificate = nil, nil
		}
	}
	if c.CertFile == "" && c.KeyFile == "" && !hasCertificate(c.TLS) {
		c.CertFile, c.KeyFile = base.CertFile, base.KeyFile
	}
}

// prepareTLS makes the tls.Config of an endpoint that accepts TLS.
func (ep *endpoint) prepareTLS() (err error) {
	cfg := new(tls.Config)
	if ep.TLS != nil {
		cfg = ep.TLS.Clone()
	}
	if cfg.MinVersion == 0 {
		cfg.MinVersion = tls.VersionTLS12
	}
	if cfg.NextProtos == nil && !ep.raw {
		if cfg.NextProtos = []string{"http/1.1"}; ep.HTTP != nil {
			cfg.NextProtos = []string{"h2", "http/1.1"}
		}
	}
	if ep.CertFile != "" {
		ep.certs, err = certs.Load(ep.CertFile, ep.KeyFile, func(err error) {
			ep.e.log.Error("a changed certificate cannot be used: the one before is still served", zap.Error(err))
		})
		if err != nil {
			return fmt.Errorf("engine: Config.CertFile and Config.KeyFile: %w", err)
		}
		cfg.GetCertificate = ep.certs.Get
	}
	ep.tls = cfg
	return ep.noteExpiry()
}

// noteExpiry finds out when the first of Config.TLS.Certificates expires, if those are
// what is served.
func (ep *endpoint) noteExpiry() error {
	if ep.tls.GetCertificate != nil || ep.tls.GetConfigForClient != nil {
		return nil
	}
	for i, cert := range ep.tls.Certificates {
		leaf := cert.Leaf
		if leaf == nil {
			if len(cert.Certificate) == 0 {
				return fmt.Errorf("engine: Config.TLS.Certificates[%d] is empty: make it with tls.LoadX509KeyPair or SelfSigned", i)
			}
			var err error
			if leaf, err = x509.ParseCertificate(cert.Certificate[0]); err != nil {
				return fmt.Errorf("engine: Config.TLS.Certificates[%d]: %w", i, err)
			}
		}
		if ep.expires.IsZero() || leaf.NotAfter.Before(ep.expires) {
			ep.expires = leaf.NotAfter
		}
	}
	return nil
}

// shaking is an accepted connection whose TLS handshake is to come or under way.
// It is counted as half open, and among those that are arriving at a loop.
type shaking struct {
	ep    *endpoint
	nc    net.Conn
	pass  admit.Pass
	since time.Duration // the engine's time of its arrival
}

// arriveTLS takes an accepted connection of a TLS listener in. Who is refused is
// closed without an answer: there is nothing to say before the handshake.
func (ep *endpoint) arriveTLS(nc net.Conn) {
	since := ep.e.elapsed()
	pass, why := ep.gate.Enter(hostAddr(nc.RemoteAddr()), since.Milliseconds())
	if why != admit.Admitted {
		ep.logDenied(nc.RemoteAddr(), netip.Addr{}, why, false)
		_ = nc.Close()
		return
	}
	ep.e.handshakes.submit(&shaking{ep: ep, nc: nc, pass: pass, since: since})
}

// do makes the handshake, off the loops, and brings the connection to its loop.
func (s *shaking) do() {
	ep := s.ep
	t, err := s.shake()
	switch {
	case err == nil && t.State().NegotiatedProtocol == "h2":
		ep.serveHTTP2(s, t)
	case err == nil:
		nc := t.Detach()
		if err := ep.enroll(nc, &arrival{tls: &sealed{TLS: t}, since: s.since}, &s.pass); err != nil {
			ep.e.log.Error("a connection could not be taken after its TLS handshake", zap.Error(err))
		}
		return
	default:
		ep.gate.Leave(&s.pass)
		s.failed(err)
	}
	ep.gate.Arrived()
}

// shake makes the handshake within HandshakeTimeout since the arrival. It recovers
// from a panic of a function of the tls.Config.
func (s *shaking) shake() (t *stage.TLS, err error) {
	ep := s.ep
	defer func() {
		if v := recover(); v != nil {
			ep.e.log.Error("a function of Config.TLS panicked; its connection is closed", zap.Any("panic", v), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, v)
		}
	}()
	left := ep.HandshakeTimeout
	if !limit.Endless(left) {
		left -= ep.e.elapsed() - s.since
	}
	ctx, cancel := context.WithTimeout(ep.listener.staying, min(left, limit.Longest))
	defer cancel()
	early, err := s.fromProxy(ctx)
	if err != nil {
		return nil, err
	}
	t = stage.Server(s.nc, early, ep.tls)
	return t, t.Handshake(ctx)
}

// fromProxy reads the PROXY header that a trusted proxy may send before TLS, and
// returns what came behind it.
func (s *shaking) fromProxy(ctx context.Context) (early []byte, err error) {
	ep := s.ep
	if !ep.proxies.trustPeer(s.nc.RemoteAddr()) {
		return nil, nil
	}
	defer context.AfterFunc(ctx, func() { _ = s.nc.Close() })()
	b := make([]byte, 1024)
	for {
		n, err := s.nc.Read(b)
		if err != nil {
			return nil, err
		}
		early = append(early, b[:n]...)
		said, n, more, err := protocol.ParseProxied(early)
		switch {
		case err != nil:
			ep.logMalformed(s.nc.RemoteAddr(), err)
			return nil, errLogged
		case more && len(early) < ep.HandshakeBytesMax:
			continue
		}
		if client := said.Source.Addr(); client.IsValid() {
			if why := ep.gate.Identify(&s.pass, client, ep.e.elapsed().Milliseconds()); why != admit.Admitted {
				ep.logDenied(s.nc.RemoteAddr(), client, why, false)
				return nil, errLogged
			}
		}
		return early[n:], nil
	}
}

// errLogged is a failure that has been logged where it was found.
var errLogged = errors.New("engine: refused")

// failed ends a connection whose handshake failed. crypto/tls has sent its alert;
// who speaks plain HTTP is told so. What the peer goes on sending is read
// elsewhere: others wait for the turn.
func (s *shaking) failed(err error) {
	ep := s.ep
	if ep.listener.staying.Err() != nil {
		_ = s.nc.Close()
		return
	}
	ep.listener.tlsFailed.Add(1)
	var head tls.RecordHeaderError
	noTLS := errors.As(err, &head)
	http := noTLS && looksLikeHTTP(head.RecordHeader)
	ep.logNoTLS(s.nc.RemoteAddr(), err, http, noTLS && string(head.RecordHeader[:]) == "PROXY")
	if http {
		_ = s.nc.SetDeadline(time.Now().Add(refuseTimeout))
		_, _ = s.nc.Write(protocol.AppendReply(nil, 400, ep.tlsHint(), nil))
	}
	endWriting(s.nc)
	if ep.e.turning.Add(1) > turnedAwayMax {
		ep.e.turning.Add(-1)
		_ = s.nc.Close()
		return
	}
	ep.e.life.servers.Go(func() {
		defer ep.e.turning.Add(-1)
		defer s.nc.Close()
		ep.readOut(s.nc)
	})
}

// logNoTLS logs why a TLS handshake failed.
func (ep *endpoint) logNoTLS(remote net.Addr, err error, http, proxied bool) {
	level := zap.WarnLevel
	switch {
	case errors.Is(err, errLogged):
		return
	case http && ep.raw:
		ep.logRefusal(&refusal{kind: kindTLS, level: level, remote: remote, reason: ep.tlsHint()})
		return
	case http:
		ep.logRefusal(&refusal{kind: kindTLS, level: level, remote: remote, status: 400, reason: ep.tlsHint()})
		return
	case proxied:
		ep.logRefusal(&refusal{kind: kindProxy, level: level, remote: remote, reason: errUntrusted.Reason, hint: hintTrust})
		return
	case hasLeft(err):
		level = zap.InfoLevel
	}
	ep.e.log.Log(level, "a TLS handshake failed", zap.Stringer("listener", ep.listener), zap.Stringer("remote", remote), zap.Error(err))
}

// tlsHint is what a client is told that speaks plain HTTP to a port of TLS.
func (ep *endpoint) tlsHint() string {
	if ep.raw {
		return "this port speaks TLS"
	}
	return "this port speaks TLS: use https:// or wss://"
}

// looksLikeHTTP reports whether the first bytes are those of a request rather
// than a record.
func looksLikeHTTP(b [5]byte) bool {
	return slices.Contains([]string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET", "PATCH", "CONNE", "TRACE"}, string(b[:]))
}

// handshakeTime is what is left of HandshakeTimeout, of which the TLS handshake took
// a part.
func (c *Conn) handshakeTime() time.Duration {
	d := c.ep.HandshakeTimeout
	if c.tls != nil && !limit.Endless(d) {
		d = max(d-(c.ep.e.elapsed()-c.tls.since), time.Millisecond)
	}
	return d
}

// isClientHello reports whether input begins with a handshake record of TLS (RFC 8446
// §5.1).
func isClientHello(b []byte) bool { return len(b) > 0 && b[0] == 22 && (len(b) == 1 || b[1] == 3) }

// TLS is what the TLS handshake of the connection agreed on (certificates of the
// client, server name, version); nil without TLS. Any goroutine may call it.
func (c *Conn) TLS() *tls.ConnectionState {
	t := c.tls
	if t == nil {
		return nil
	}
	state := t.State()
	return &state
}

// TLS is what Conn.TLS will return, until OnUpgrade, or the function of Go, has returned.
func (u *Upgrade) TLS() *tls.ConnectionState {
	if u.c == nil {
		return nil
	}
	return u.c.TLS()
}
