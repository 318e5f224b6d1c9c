package engine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unique"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// upgrade answers a valid opening handshake.
func (c *Conn) upgrade() {
	r := &c.w.env.Request
	if c.e.trustsPeer(c.remote) {
		if c.identify(c.e.forwarded(r.Fields)); c.phase.Load() >= phaseEnding {
			return
		}
	}
	c.w.calling(onUpgrade, c) // CheckOrigin counts as it
	if err := c.checkOrigin(r); err != nil {
		c.refuse(err)
		return
	}
	var accept codec.Accept
	if f := c.h.OnUpgrade; f != nil {
		c.w.env.Shown = true
		u := &Upgrade{Request: r, RemoteAddr: c.remote, ClientAddr: c.ClientAddr()}
		if err := f(u); err != nil {
			c.refuse(c.e.refusal(err))
			return
		}
		accept = codec.Accept{Subprotocol: u.Subprotocol, Fields: u.Header}
		c.SetState(u.State)
		c.subprotocol = unique.Make(u.Subprotocol)
		if u.Handler != nil {
			c.h = u.Handler
		}
	}
	if err := c.codec.(codec.Upgrader).Accept(&c.w.env, accept); err != nil {
		c.refuse(c.e.refusal(err))
		return
	}
	c.w.head = len(c.w.env.Out)
	c.asked = true
	defer func() { c.asked = false }() // also if OnOpen panics
	c.open()
}

// refusal is what the client is told of an error of OnUpgrade.
func (e *Engine) refusal(err error) *codec.HandshakeError {
	var refused *codec.HandshakeError
	malformed := func(f protocol.Field) bool { return !protocol.ValidField(f) }
	if errors.As(err, &refused) && refused.Status >= 400 && refused.Status <= 599 && !slices.ContainsFunc(refused.Fields, malformed) {
		return refused
	}
	if refused != nil {
		err = fmt.Errorf("engine: Refuse takes a status from 400 to 599 and well-formed fields: %w", err)
	}
	e.log.Error("OnUpgrade failed; the client gets 500", zap.Error(err))
	return &codec.HandshakeError{Status: 500, Reason: "internal server error"}
}

// short cuts what a peer wrote to what a log line can bear; a log may keep it.
func short(s string) string { return strings.Clone(s[:min(len(s), 256)]) }

// checkOrigin keeps other sites' pages from using the cookies of this one
// (RFC 6455 §10.2).
func (c *Conn) checkOrigin(r *protocol.Request) *codec.HandshakeError {
	e, origin := c.e, r.Fields.Get("Origin")
	switch {
	case e.cfg.CheckOrigin != nil:
		c.w.env.Shown = true
		if e.cfg.CheckOrigin(r) {
			return nil
		}
	case r.Fields.Count("Origin") == 0:
		return nil // no browser
	case e.cfg.Origins == nil:
		if protocol.SameOrigin(origin, r.Host) {
			return nil
		}
	default:
		for _, p := range e.cfg.Origins {
			if protocol.MatchOrigin(p, origin) {
				return nil
			}
		}
	}
	e.log.Warn("a handshake is refused for its origin; Config.Origins lists those to allow",
		zap.String("origin", short(origin)), zap.String("host", short(r.Host)))
	return &codec.HandshakeError{Status: 403, Reason: "this origin is not allowed" + c.originHint(origin, r.Host)}
}

// originHint helps who has just put a proxy in front and has no Logger: browsers
// then get 403 until the proxy passes Host on. A peer from elsewhere could be the
// browser of anybody, who need not learn how a proxy calls this server.
func (c *Conn) originHint(origin, host string) string {
	if peer := hostAddr(c.remote); !c.e.exempt(peer) && !peer.IsPrivate() {
		return ""
	}
	return fmt.Sprintf(": Origin is %+q, Host is %+q; a proxy in between has to pass Host on as it came, or Config.Origins has to list the origin",
		short(origin), short(host))
}
