package engine

import (
	"fmt"
	"unique"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// upgrade answers a valid opening handshake.
func (c *Conn) upgrade() {
	r := &c.w.env.Request
	if c.ep.proxies.trustPeer(c.who.remote) {
		if client, said := c.ep.proxies.forwarded(r.Fields); said {
			c.identify(client)
		}
		if c.end.phase.Load() >= phaseEnding {
			return
		}
	}
	c.w.calling(onUpgrade, c) // CheckOrigin counts as it
	if err := c.checkOrigin(r); err != nil {
		c.end.answer = handshakeOrigin
		c.refuse(err)
		return
	}
	var u *Upgrade
	if given := c.input().upgrade; given != nil { // what Engine.Upgrade was given
		u, c.needInput().upgrade = given, nil
	}
	f := c.h.OnUpgrade
	switch {
	case f == nil && u == nil:
		c.answer(&Upgrade{}, nil)
		return
	case f == nil:
		c.answer(u, nil)
		return
	case u == nil:
		u = new(Upgrade)
	}
	u.c, u.Request, u.RemoteAddr, u.ClientAddr = c, c.w.show(), c.RemoteAddr(), c.ClientAddr()
	err := f(u)
	c.w.returned()
	if err == nil && u.decide != nil {
		c.await(u)
		return
	}
	u.c = nil // it is too late for Go
	c.answer(u, err)
}

// show returns the request at hand as OnUpgrade may see it: at an address that
// nothing else has, so that a function of Upgrade.Go can keep it.
func (w *worker) show() *protocol.Request {
	if w.scratch.request == nil {
		w.scratch.request = new(protocol.Request)
	}
	*w.scratch.request, w.env.Shown = w.env.Request, true
	return w.scratch.request
}

// answer answers the handshake in env.Request.
func (c *Conn) answer(u *Upgrade, err error) {
	if err == nil {
		err = c.codec.(codec.Upgrader).Accept(&c.w.env, codec.Accept{Subprotocol: u.Subprotocol, Fields: u.Header})
	}
	if err != nil {
		refused, decided := c.ep.e.refusal(err)
		if decided {
			c.logRefusal(kindOnUpgrade, zap.InfoLevel, refused, "OnUpgrade has decided so")
		}
		c.refuse(refused)
		return
	}
	if u.Subprotocol == "" {
		c.logNoSubprotocol(&c.w.env.Request)
	}
	if c.SetState(u.State); u.Subprotocol != "" {
		c.who.subprotocol = unique.Make(u.Subprotocol)
	}
	if u.Handler != nil {
		c.h = u.Handler
	}
	c.w.batch.head = len(c.w.env.Out)
	c.shown = requestHead
	defer func() { c.shown = noHead }() // also if OnOpen panics
	c.open()
}

// checkOrigin keeps other sites' pages from using the cookies of this one
// (RFC 6455 §10.2).
func (c *Conn) checkOrigin(r *protocol.Request) *codec.HandshakeError {
	ep, origin := c.ep, r.Fields.Get("Origin")
	switch {
	case ep.CheckOrigin != nil:
		c.w.env.Shown = true
		if ep.CheckOrigin(r) {
			return nil
		}
	case r.Fields.Count("Origin") == 0:
		return nil // no browser
	case ep.Origins == nil:
		if protocol.SameOrigin(origin, r.Host) {
			return nil
		}
	default:
		for _, p := range ep.Origins {
			if protocol.MatchOrigin(p, origin) {
				return nil
			}
		}
	}
	const reason = "this origin is not allowed"
	ep.logRefusal(&refusal{kind: kindOrigin, level: zap.WarnLevel, remote: c.who.remote, client: c.pass.Client(), status: 403, reason: reason,
		hint: ep.originRule(), origin: origin, host: r.Host})
	return &codec.HandshakeError{Status: 403, Reason: reason + c.originHint(origin, r.Host)}
}

// originRule says by what an origin was refused.
func (ep *endpoint) originRule() string {
	switch {
	case ep.CheckOrigin != nil:
		return "Config.CheckOrigin has decided so"
	case ep.Origins != nil:
		return "Config.Origins does not list it"
	}
	return "Origin is not that of Host: Config.Origins has to list it, or a proxy in between has to pass Host on as it came"
}

// originHint helps who has just put a proxy in front: browsers
// then get 403 until the proxy passes Host on. A peer from elsewhere could be the
// browser of anybody, who need not learn how a proxy calls this server.
func (c *Conn) originHint(origin, host string) string {
	if peer := hostAddr(c.who.remote); !c.ep.proxies.exempt(peer) && !peer.IsPrivate() {
		return ""
	}
	return fmt.Sprintf(": Origin is %+q, Host is %+q; a proxy in between has to pass Host on as it came, or Config.Origins has to list the origin",
		forLog(origin), forLog(host))
}
