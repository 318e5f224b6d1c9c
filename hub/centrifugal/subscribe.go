package centrifugal

import (
	"context"
	"errors"

	cf "github.com/centrifugal/protocol"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
	"github.com/sockmill/sockmill/protocol"
)

// flagRejectUnrecovered in SubscribeRequest.flag asks for error 112 in place of recovered: false. The other flag asks for numbers in
// place of names, which this server does not give.
const flagRejectUnrecovered = 1 << 1

// subscribe answers the command in the midst of joining: before anything of the channel is sent.
func (b *batch) subscribe(c *cf.Command) error {
	s, x, r := b.s, b.x, c.Subscribe
	if err := s.checkChannel(r.Channel); err != nil {
		return err
	}
	switch {
	case r.Type < 0 || r.Type > 4:
		return ErrBadRequest
	case r.Type > 0, r.Tf != nil: // subscriptions to maps and by polling, and filters
		return ErrNotAvailable
	}
	client := x.known()
	request := &Request{Data: r.Data}
	j := hub.Join{NoJoinLeave: !r.JoinLeave}
	if r.Recover {
		j.Since = &broker.Position{Offset: r.Offset, Epoch: r.Epoch}
	}
	join, err := b.mayJoin(client, r, request, &j)
	if err != nil {
		return err
	}
	told := false
	j.Begin = func(joined hub.Joined) error {
		result := &cf.SubscribeResult{WasRecovering: r.Recover, Data: x.format.raw(changed(r.Data, request.Data))}
		b.position(result, &joined, r.Offset)
		if r.Recover && !result.Recovered && r.Flag&flagRejectUnrecovered != 0 {
			return ErrUnrecoverable
		}
		if result.Expires, result.Ttl = s.ttl(request.Expire); result.Expires && result.Ttl == 0 {
			return ErrExpired
		}
		x.setSub(r.Channel, sub{expire: s.deadline(request.Expire)})
		b.reply(&cf.Reply{Id: c.Id, Subscribe: result})
		err := b.flush()
		told = err == nil
		return err
	}
	ctx := b.ctx
	if s.cfg.Hub.Hooks.Join != nil {
		ctx = request.in(ctx)
	}
	if err = join(ctx, r.Channel, j); err != nil && told {
		x.forget(r.Channel)
		return b.tooLate(err)
	}
	return err
}

// mayJoin finds out whether the name of the channel, or a token, says who may join. It returns what then decides: the hooks and
// options, or nothing more.
func (b *batch) mayJoin(client *hub.Client, r *cf.SubscribeRequest, request *Request, j *hub.Join) (join func(context.Context, string, hub.Join) error, err error) {
	if r.Token != "" {
		t, err := b.subscriptionToken(r.Token, r.Channel, client)
		switch {
		case errors.Is(err, token.ErrExpired):
			return nil, ErrTokenExpired
		case errors.Is(err, token.ErrInvalid), errors.Is(err, errNoTokens):
			return nil, ErrDenied
		case err != nil:
			return nil, err
		}
		request.Expire, j.Info = t.Expire, t.Info
		return b.joinAsIs(client), nil
	}
	if private(r.Channel) {
		return nil, ErrDenied
	}
	switch is, may := limited(r.Channel, client.User()); {
	case is && may:
		return b.joinAsIs(client), nil
	case is:
		return nil, ErrDenied
	}
	return func(ctx context.Context, channel string, j hub.Join) error {
		_, err := client.Join(ctx, channel, j)
		return err
	}, nil
}

func (b *batch) joinAsIs(client *hub.Client) func(context.Context, string, hub.Join) error {
	return func(ctx context.Context, channel string, j hub.Join) error {
		_, err := b.s.hub.Join(ctx, client, channel, j)
		return err
	}
}

var errNoTokens = errors.New("centrifugal: Config.Tokens is not set")

// subscriptionToken verifies a token for a channel and a client. A good one of others is a Disconnect.
func (b *batch) subscriptionToken(shown, channel string, client *hub.Client) (token.Subscribe, error) {
	if b.s.cfg.Tokens == nil {
		return token.Subscribe{}, errNoTokens
	}
	t, err := b.s.cfg.Tokens.Subscribe(shown)
	if err == nil && (t.Channel != channel || t.User != client.User() || t.Client != "" && t.Client != client.ID()) {
		err = DisconnectInvalidToken
	}
	return t, err
}

// unsubscribe succeeds for a channel that the client is not in, too.
func (b *batch) unsubscribe(c *cf.Command) error {
	channel := c.Unsubscribe.Channel
	if err := b.s.checkChannel(channel); err != nil {
		return err
	}
	b.x.forget(channel)
	if err := b.leave(channel); err != nil && !errors.Is(err, hub.ErrNotJoined) {
		return err
	}
	b.reply(&cf.Reply{Id: c.Id, Unsubscribe: &cf.UnsubscribeResult{}})
	return nil
}

// leave takes the client out of a channel. What a broker cannot be told then is logged.
func (b *batch) leave(channel string) error {
	err := b.x.known().Leave(b.ctx, channel)
	if err != nil && !errors.Is(err, hub.ErrNotJoined) && !errors.Is(err, hub.ErrClosed) {
		b.s.log.Warn("a client has left a channel, but a broker could not be told", zap.String("channel", channel), zap.Error(err))
		return nil
	}
	return err
}

// endExpired ends subscriptions that were not refreshed in time. One that the program made cannot be made again by the
// client: its connection has to.
func (x *session) endExpired(ctx context.Context, expired []string) {
	x.begin()
	defer x.end()
	b := batch{x: x, s: x.s, ctx: ctx}
	for _, channel := range expired {
		u, ok := x.lapsed(channel)
		switch {
		case !ok:
		case u.server:
			x.close(DisconnectSubExpired)
			return
		case b.leave(channel) == nil:
			_ = x.push(unsubscribePush(channel, UnsubscribeExpired, "subscription expired"))
		}
	}
}

// onLeft is hub.Config.OnLeft.
func (s *Server) onLeft(c *hub.Client, channel string, code protocol.CloseCode, reason string) {
	x := sessionOf(c.Conn())
	if x == nil { // the program has connected it
		return
	}
	if u := x.forget(channel); u.server && code >= UnsubscribeInsufficient {
		x.close(DisconnectInsufficientState) // clients subscribe again only where they have subscribed themselves
		return
	}
	_ = x.push(unsubscribePush(channel, code, reason)) // who cannot be told has ended, or is about to
}
