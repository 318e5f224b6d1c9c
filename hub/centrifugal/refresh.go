package centrifugal

import (
	"encoding/json"
	"errors"
	"slices"
	"time"

	cf "github.com/centrifugal/protocol"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// refresh takes a new connection token.
func (b *batch) refresh(c *cf.Command) error {
	s, client := b.s, b.x.known()
	switch {
	case s.cfg.Tokens == nil:
		return ErrNotAvailable
	case c.Refresh.Token == "":
		return DisconnectBadRequest
	}
	t, err := s.cfg.Tokens.Connect(c.Refresh.Token)
	switch {
	case errors.Is(err, token.ErrExpired):
		return DisconnectExpired
	case err != nil, t.User != client.User():
		return DisconnectInvalidToken
	}
	r := &cf.RefreshResult{}
	if r.Expires, r.Ttl = s.ttl(t.Expire); r.Expires && r.Ttl == 0 {
		return DisconnectExpired
	}
	b.x.renew(t.Expire)
	if t.Meta != nil {
		client.Set(MetaKey, json.RawMessage(t.Meta))
	}
	b.reply(&cf.Reply{Id: c.Id, Refresh: r})
	return nil
}

// renew sets when the connection expires.
func (x *session) renew(expire time.Time) {
	x.mu.Lock()
	x.expire = x.s.deadline(expire)
	x.mu.Unlock()
	x.sooner()
}

// subRefresh takes a new token for a subscription.
func (b *batch) subRefresh(c *cf.Command) error {
	s, x, r := b.s, b.x, c.SubRefresh
	if err := s.checkChannel(r.Channel); err != nil {
		return err
	}
	client := x.known()
	switch {
	case r.Type != 0:
		return ErrNotAvailable
	case !slices.Contains(client.Channels(), r.Channel):
		return ErrDenied
	case s.cfg.Tokens == nil:
		return ErrNotAvailable
	case r.Token == "":
		return ErrBadRequest
	}
	t, err := b.subscriptionToken(r.Token, r.Channel, client)
	switch {
	case errors.Is(err, token.ErrExpired):
		return DisconnectSubExpired
	case err != nil:
		return DisconnectInvalidToken
	}
	result := &cf.SubRefreshResult{}
	if result.Expires, result.Ttl = s.ttl(t.Expire); result.Expires && result.Ttl == 0 {
		return DisconnectSubExpired
	}
	x.renewSub(r.Channel, t.Expire)
	b.reply(&cf.Reply{Id: c.Id, SubRefresh: result})
	return nil
}

// renewSub sets when a subscription expires.
func (x *session) renewSub(channel string, expire time.Time) {
	x.mu.Lock()
	u := x.subs[channel]
	x.mu.Unlock()
	x.setSub(channel, sub{server: u.server, expire: x.s.deadline(expire)})
}

// commandRefresh is the name of the hub.Hub.Command that sets when connections expire; a renewal in JSON is its data.
const commandRefresh = "refresh"

type renewal struct {
	Expired bool      `json:"expired,omitempty"` // now
	Expire  time.Time `json:"expire,omitzero"`   // zero: never
}

// onCommand is hub.Config.OnCommand.
func (s *Server) onCommand(c *hub.Client, name string, data []byte) {
	x := sessionOf(c.Conn())
	var r renewal
	switch err := json.Unmarshal(data, &r); {
	case x == nil, name != commandRefresh, err != nil:
		s.log.Error("a command for a client cannot be carried out", zap.String("name", name), zap.Error(err))
		return
	case r.Expired:
		x.close(DisconnectExpired)
		return
	}
	push := &cf.Refresh{}
	if push.Expires, push.Ttl = s.ttl(r.Expire); push.Expires && push.Ttl == 0 {
		x.close(DisconnectExpired)
		return
	}
	x.renew(r.Expire)
	_ = x.push(&cf.Push{Refresh: push}) // who cannot be told has ended, or is about to
}
