package centrifugal

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/centrifugal/token"
)

// start is what is known of a connection until its client has connected.
type start struct {
	state   any // of Config.OnUpgrade
	request *Request
	claims  token.Connect // zero without a token
	asked   map[string]*cf.SubscribeRequest
	as      hub.Connect // as the hook left it
	subs    map[string]*cf.SubscribeResult
	told    bool // the client was answered
}

// started ends the connect command.
func (x *session) started() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.start = nil
}

// asked makes a hook of the program tell what it has decided. What it sends in Begin comes before the answer.
func asked(hook func(context.Context, *engine.Conn, *hub.Connect) error) func(context.Context, *engine.Conn, *hub.Connect) error {
	return func(ctx context.Context, conn *engine.Conn, as *hub.Connect) error {
		x := sessionOf(conn)
		if x == nil || x.start == nil { // it is not for a command
			return hook(ctx, conn, as)
		}
		ours := *as
		as.Begin = nil
		err := hook(ctx, conn, as)
		x.start.as = *as
		x.start.as.Data = changed(ours.Data, as.Data)
		as.Format, as.Begin = ours.Format, inTurn(as.Begin, ours.Begin)
		return err
	}
}

// askedToJoin does the same for Hooks.Join.
func askedToJoin(hook func(context.Context, *hub.Client, string, *hub.Join) error) func(context.Context, *hub.Client, string, *hub.Join) error {
	return func(ctx context.Context, c *hub.Client, channel string, j *hub.Join) error {
		ours := j.Begin
		j.Begin = nil
		err := hook(ctx, c, channel, j)
		j.Begin = inTurn(j.Begin, ours)
		return err
	}
}

// inTurn calls both of two functions that may be nil.
func inTurn[T any](first, second func(T) error) func(T) error {
	switch {
	case first == nil:
		return second
	case second == nil:
		return first
	}
	return func(v T) error {
		if err := first(v); err != nil {
			return err
		}
		return second(v)
	}
}

// changed returns what a hook has put in the place of what the client said, or nil.
func changed(said, now []byte) []byte {
	if len(said) == len(now) && (len(now) == 0 || &said[0] == &now[0]) {
		return nil
	}
	return now
}

func (b *batch) connect(c *cf.Command) error {
	x, s, r := b.x, b.s, c.Connect
	if x.start == nil {
		x.start = &start{}
	}
	st := x.start
	defer x.started()
	st.asked = r.Subs
	st.request = &Request{Name: r.Name, Version: r.Version, Headers: r.Headers, Token: r.Token, Data: r.Data, State: st.state}
	if err := s.identify(st, r.Token); err != nil {
		return err
	}
	as := hub.Connect{User: st.claims.User, Info: st.claims.Info, Data: r.Data, Format: int(x.format)}
	for name := range st.claims.Channels {
		as.Channels = append(as.Channels, name)
	}
	slices.Sort(as.Channels)
	st.as = as
	st.as.Data = nil
	as.Begin = func(client *hub.Client) error { return b.welcome(c.Id, client) }
	ctx := b.ctx
	if s.cfg.Hub.Hooks.Connect != nil {
		ctx = st.request.in(ctx)
	}
	_, err := s.hub.Connect(ctx, x.conn, as)
	switch {
	case errors.Is(err, hub.ErrLimit):
		return DisconnectChannelLimit
	case err != nil && st.told:
		return b.tooLate(err)
	}
	return err
}

// tooLate is the error of a command that failed after it was answered: an answer cannot be taken back.
func (b *batch) tooLate(err error) error {
	if err = b.s.answer(b.x, err); errors.As(err, new(Error)) {
		return DisconnectServerError
	}
	return err
}

// identify finds out who a client is that shows a token, or none.
func (s *Server) identify(st *start, shown string) (err error) {
	hook := s.cfg.Hub.Hooks.Connect != nil
	switch {
	case shown == "" && (s.cfg.Anonymous || hook):
		return nil
	case shown == "":
		return ErrUnauthorized
	case s.cfg.Tokens == nil && hook:
		return nil
	case s.cfg.Tokens == nil:
		return DisconnectInvalidToken
	}
	st.request.Token = ""
	st.claims, err = s.cfg.Tokens.Connect(shown)
	switch {
	case errors.Is(err, token.ErrExpired):
		return ErrTokenExpired
	case err != nil:
		return DisconnectInvalidToken
	}
	st.request.Expire = st.claims.Expire
	return nil
}

// welcome answers the connect command, when the client is known and before anything else is sent to it.
func (b *batch) welcome(id uint32, client *hub.Client) error {
	x, s := b.x, b.s
	st, cfg := x.start, &s.cfg
	st.subs = make(map[string]*cf.SubscribeResult, len(st.as.Channels))
	for _, name := range st.as.Channels {
		r, err := b.resume(name)
		if err != nil {
			return err
		}
		st.subs[name] = r
		x.setSub(name, sub{server: true})
	}
	if st.claims.Meta != nil {
		client.Set(MetaKey, json.RawMessage(st.claims.Meta))
	}
	result := &cf.ConnectResult{Client: client.ID(), Version: version, Data: x.format.raw(st.as.Data), Subs: st.subs}
	expire := st.request.Expire
	if result.Expires, result.Ttl = s.ttl(expire); result.Expires && result.Ttl == 0 {
		return ErrExpired
	}
	if cfg.PingInterval > 0 {
		result.Ping = seconds(cfg.PingInterval)
		result.Pong = cfg.PongTimeout > 0
	}
	x.connected(client, s.deadline(expire))
	b.reply(&cf.Reply{Id: id, Connect: result})
	err := b.flush()
	st.told = err == nil
	return err
}

// version is what the answer to a connect command says of the server.
const version = "sockmill"

// MetaKey is where a client keeps the claim meta of its connection token, a json.RawMessage: see hub.Client.Get.
const MetaKey = "meta"

// resume reads what the client has missed in a channel that it is subscribed to from the beginning.
func (b *batch) resume(name string) (*cf.SubscribeResult, error) {
	st, s := b.x.start, b.s
	o, err := s.hub.Options(name)
	if err != nil {
		return nil, err
	}
	r := &cf.SubscribeResult{Data: b.x.format.raw(st.claims.Channels[name].Data)}
	want := st.asked[name]
	r.WasRecovering = want != nil && want.Recover
	if o.History == 0 {
		return r, nil
	}
	joined := hub.Joined{Options: o}
	var page broker.Page
	switch {
	case !r.WasRecovering:
		page, err = s.hub.History(b.ctx, name, broker.Query{})
	case o.Latest:
		if page, err = s.hub.History(b.ctx, name, broker.Query{Limit: 1, Reverse: true}); err == nil && len(page.Publications) > 0 {
			joined.Recovered = true
			if p := page.Publications[0]; p.Position == (broker.Position{Offset: want.Offset, Epoch: want.Epoch}) {
				page.Publications = nil
			}
		}
	default:
		since := broker.Position{Offset: want.Offset, Epoch: want.Epoch}
		page, err = s.hub.History(b.ctx, name, broker.Query{Since: &since, Limit: s.recoverMax()})
		joined.Recovered = err == nil && page.Complete(since)
		if errors.Is(err, broker.ErrUnrecoverable) {
			err = nil
		}
	}
	if err != nil {
		return nil, err
	}
	if joined.Position = page.Top; joined.Recovered {
		joined.Missed = page.Publications
	}
	b.position(r, &joined, want.GetOffset())
	return r, nil
}

func (s *Server) recoverMax() int {
	if n := s.cfg.Hub.RecoverMax; n > 0 {
		return n
	}
	return 1000 // the default of hub.Config
}

// position fills in what a client is told of where it is in a channel. since is the offset of what it has got.
func (b *batch) position(r *cf.SubscribeResult, joined *hub.Joined, since uint64) {
	if joined.Options.History == 0 {
		return
	}
	r.Recoverable, r.Positioned = true, true
	r.Epoch, r.Offset = joined.Position.Epoch, joined.Position.Offset
	if r.Recovered = joined.Recovered && bytesOf(joined.Missed) <= b.s.cfg.ReplyBytesMax; r.Recovered && len(joined.Missed) > 0 {
		r.Publications = b.x.format.publications(joined.Missed)
		r.Offset = since // each publication moves the client on
	}
}

// joining is hub.Config.Joining: what the client is told of a subscription that the program makes.
func (s *Server) joining(c *hub.Client, channel string, j *hub.Join) {
	x := sessionOf(c.Conn())
	if x == nil { // the program has connected it
		return
	}
	j.NoJoinLeave = true // nobody has asked for them
	x.mu.Lock()
	st := x.start
	x.mu.Unlock()
	if st != nil && st.subs[channel] != nil { // it was told in the answer to the connect command: what follows goes on there
		st.goOn(x, channel, j)
		return
	}
	since, data := j.Since, j.Data
	j.Begin = func(joined hub.Joined) error {
		x.setSub(channel, sub{server: true})
		push := &cf.Subscribe{Data: x.format.raw(data)}
		if joined.Options.History > 0 {
			push.Recoverable, push.Positioned = true, true
			push.Epoch, push.Offset = joined.Position.Epoch, joined.Position.Offset
			if len(joined.Missed) > 0 {
				push.Offset = since.Offset // each publication moves the client on
			}
		}
		if err := x.push(&cf.Push{Channel: channel, Subscribe: push}); err != nil {
			return err
		}
		return x.pushMissed(channel, &joined)
	}
}

func (x *session) pushMissed(channel string, joined *hub.Joined) error {
	for i := range joined.Missed {
		if err := x.push(&cf.Push{Channel: channel, Pub: x.format.publication(&joined.Missed[i])}); err != nil {
			return err
		}
	}
	return nil
}

// goOn has a join of the hub go on where the client was told that it is.
func (st *start) goOn(x *session, channel string, j *hub.Join) {
	r := st.subs[channel]
	j.Info = st.claims.Channels[channel].Info
	if !r.Recoverable {
		j.Begin = func(hub.Joined) error { return nil }
		return
	}
	at := broker.Position{Offset: r.Offset, Epoch: r.Epoch}
	if n := len(r.Publications); n > 0 {
		at.Offset = r.Publications[n-1].Offset
	}
	j.Since = &at
	j.Begin = func(joined hub.Joined) error {
		if !joined.Recovered {
			return DisconnectInsufficientState
		}
		return x.pushMissed(channel, &joined)
	}
}

func (x *session) push(p *cf.Push) error {
	return x.send(x.format.append(nil, &cf.Reply{Push: p}))
}

// ttl is what a client is told of when it has to refresh: with expires and 0 it is too late.
func (s *Server) ttl(expire time.Time) (expires bool, ttl uint32) {
	if expire.IsZero() {
		return false, 0
	}
	return true, seconds(expire.Sub(s.now()))
}

// ttlMax is the longest time that clients are told: some count it in milliseconds of 31 bits.
const ttlMax = 24 * 24 * time.Hour

// seconds are whole ones, of which a begun one is one.
func seconds(d time.Duration) uint32 {
	return uint32((min(max(d, 0), ttlMax) + time.Second - 1) / time.Second) //nolint:gosec // it is in range
}

// lifeMax is the longest time that a token is good for.
const lifeMax = 365 * 24 * time.Hour

// deadline is when what expires at t does so, as a session counts.
func (s *Server) deadline(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return s.time() + int64(min(t.Sub(s.now()), lifeMax))
}
