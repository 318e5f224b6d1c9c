package engine

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/engine/internal/admit"
	"github.com/sockmill/sockmill/internal/logs"
	"github.com/sockmill/sockmill/protocol"
)

// refusal is why a connection is refused before it is open. Its log line is a
// warning where a client that wants a WebSocket, or the operator, has to do
// something; what anybody's visit causes, and what OnUpgrade decides, is for those
// who look for it.
type refusal struct {
	kind   string // a name of Metrics.RefusedBy or of Metrics.Handshakes, or one of the kinds below; lines of one kind are bounded together: see logs.Kind
	level  zapcore.Level
	remote net.Addr
	client netip.Addr // invalid, if it is remote or not known
	status int        // of the HTTP answer; 0: there is none
	reason string     // what the client is told, if there is an answer
	hint   string     // what else an operator should know

	origin, host string // of who is refused for its origin
}

func (ep *endpoint) logRefusal(r *refusal) {
	client, hint, origin, host := zap.Skip(), zap.Skip(), zap.Skip(), zap.Skip()
	if r.client.IsValid() && r.client != hostAddr(r.remote) {
		client = zap.Stringer("client", r.client)
	}
	if r.hint != "" {
		hint = zap.String("hint", r.hint)
	}
	if r.kind == kindOrigin {
		origin, host = zap.String("origin", forLog(r.origin)), zap.String("host", forLog(r.host))
	}
	logs.Kind(ep.e.log, r.kind).Log(r.level, "a connection is refused", zap.String("kind", r.kind), zap.Stringer("listener", ep.listener), zap.Stringer("remote", r.remote), client,
		zap.Int("status", r.status), zap.String("reason", forLog(r.reason)), hint, origin, host)
}

// Kinds of refusals; others are those of admit, and statuses. Of the last four, Metrics
// count the status, or in ListenerStats.TLSFailed.
const (
	kindOrigin    = "origin"
	kindOnUpgrade = "on_upgrade"
	kindPlain     = "plain_http"
	kindTLS       = "tls"
	kindProxy     = "proxy"
)

// logRefusal logs that the connection, which is on its loop, is refused with e.
func (c *Conn) logRefusal(kind string, level zapcore.Level, e *codec.HandshakeError, hint string) {
	c.ep.logRefusal(&refusal{kind: kind, level: level, remote: c.who.remote, client: c.pass.Client(), status: e.Status, reason: e.Reason, hint: hint})
}

// logDenied logs that the gate refuses a connection.
func (ep *endpoint) logDenied(remote net.Addr, client netip.Addr, why admit.Refusal, answered bool) {
	r := refusal{kind: why.Name(), level: zap.WarnLevel, remote: remote, client: client, reason: why.Text(), hint: why.Hint()}
	switch why {
	case admit.NotRunning: // Engine.Upgrade returns it
		return
	case admit.Closed: // as it should be
		r.level = zap.InfoLevel
	}
	if answered && !ep.raw {
		r.status = why.Status()
	}
	ep.logRefusal(&r)
}

// logEnd logs why the codec ends the session, if that is for what the peer sent: a handshake
// that is refused, or a violation of the protocol.
func (c *Conn) logEnd(info *CloseError) {
	if info == nil || info.Remote || info.Err == nil || c.origin == dialled {
		return
	}
	var refused *codec.HandshakeError
	switch phase := c.end.phase.Load(); {
	case phase == phaseOpening && errors.As(info.Err, &refused):
		c.logRefusal(strconv.Itoa(refused.Status), zap.WarnLevel, refused, "")
	case phase == phaseOpen && !errors.As(info.Err, &refused):
		c.logViolation(info)
	}
}

// logViolation logs that the connection is closed for what its peer sent. A peer that
// is told so by its close frame is no concern of an operator, unless it met a
// limit of Config.
func (c *Conn) logViolation(info *CloseError) {
	level, reason := zap.InfoLevel, info.Reason
	if info.Code == protocol.CloseMessageTooBig {
		level = zap.WarnLevel
	}
	if reason == "" {
		reason = info.Err.Error()
	}
	logs.Kind(c.ep.e.log, strconv.Itoa(int(info.Code))).Log(level, "a connection is closed for what its peer sent", zap.Stringer("listener", c.ep.listener),
		zap.Uint64("conn", c.who.id), zap.Stringer("remote", c.who.remote), zap.Uint16("code", uint16(info.Code)), zap.String("reason", forLog(reason)))
}

// logNoSubprotocol tells why a browser closes a connection that has been opened: it
// offered subprotocols, and none was chosen.
func (c *Conn) logNoSubprotocol(r *protocol.Request) {
	if r.Fields.Count("Sec-WebSocket-Protocol") == 0 || r.Fields.Count("Origin") == 0 {
		return
	}
	c.ep.e.log.Warn("a browser offers subprotocols and OnUpgrade chooses none of them in Upgrade.Subprotocol: browsers close such a connection",
		zap.Stringer("listener", c.ep.listener), zap.Stringer("remote", c.who.remote), zap.String("offered", forLog(r.Fields.Get("Sec-WebSocket-Protocol"))))
}

// logPlain logs a request that is no handshake: a warning if the client has meant one,
// which something between them has changed.
func (ep *endpoint) logPlain(remote net.Addr, status int, reason string, meant bool) {
	r := refusal{kind: kindPlain, level: zap.InfoLevel, remote: remote, status: status, reason: reason}
	if meant {
		r.kind, r.level, r.hint = strconv.Itoa(status), zap.WarnLevel, hintUpgrade
	}
	ep.logRefusal(&r)
}

const hintUpgrade = "the request has Sec-WebSocket-Key and no Upgrade: a proxy in between has to speak HTTP/1.1 and pass Upgrade and Connection on"

// meansWebSocket reports whether a request without Upgrade has been a handshake before a
// proxy took that away.
func meansWebSocket(f protocol.Fields) bool { return f.Count("Sec-WebSocket-Key") > 0 }

// hintTrust is for a PROXY header of an address that nobody trusts.
const hintTrust = "if the sender is a proxy of yours, Config.TrustedProxies has to list its address"

// errUntrusted is what the sender is told: through it the client.
var errUntrusted = &codec.HandshakeError{Status: 400, Reason: "a PROXY header came from an address that is not trusted to send one"}

// isProxyHeader reports whether input begins with a whole PROXY header.
func isProxyHeader(b []byte) bool {
	_, n, _, err := protocol.ParseProxied(b)
	return n > 0 && err == nil
}

// hasLeft reports whether a handshake failed because the peer left, or was silent:
// so do probes of balancers, and browsers that connect in advance.
func hasLeft(err error) bool {
	for _, end := range []error{io.EOF, syscall.ECONNRESET, syscall.EPIPE, net.ErrClosed, os.ErrDeadlineExceeded, context.DeadlineExceeded} {
		if errors.Is(err, end) {
			return true
		}
	}
	return false
}

// forLog shortens what a peer wrote for a log line, and copies it.
func forLog(s string) string { return strings.Clone(s[:min(len(s), 256)]) }
