package centrifugal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// methods are those of the API but batch.
var methods = map[string]func(a *api, ctx context.Context, params json.RawMessage) (any, error){
	"publish":        of((*api).publish),
	"broadcast":      of((*api).broadcast),
	"send":           of((*api).send),
	"subscribe":      of((*api).subscribe),
	"unsubscribe":    of((*api).unsubscribe),
	"disconnect":     of((*api).disconnect),
	"refresh":        of((*api).refresh),
	"presence":       of((*api).presence),
	"presence_stats": of((*api).presenceStats),
	"history":        of((*api).history),
	"history_remove": of((*api).historyRemove),
	"channels":       of((*api).channels),
	"info":           of((*api).info),
	"connections":    of((*api).connections),
	"users":          of((*api).users),
}

// of makes a method of a function that takes its parameters decoded.
func of[P any](f func(*api, context.Context, *P) (any, error)) func(*api, context.Context, json.RawMessage) (any, error) {
	return func(a *api, ctx context.Context, params json.RawMessage) (any, error) {
		var p P
		if err := decode(params, &p); err != nil {
			return nil, err
		}
		return f(a, ctx, &p)
	}
}

// stream calls f for each JSON value of a text.
func stream(text []byte, f func(value []byte) error) error {
	d := json.NewDecoder(bytes.NewReader(text))
	for {
		var value json.RawMessage
		switch err := d.Decode(&value); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return malformed{badRequest("%v", err), http.StatusBadRequest}
		}
		if err := f(value); err != nil {
			return err
		}
	}
}

// whom says which clients a command is for.
type whom struct {
	User    string `json:"user"`
	Client  string `json:"client"`
	Session string `json:"session"`
}

func (w *whom) target() (hub.Target, error) {
	switch {
	case w.Session != "":
		return hub.Target{}, notAvailable("session: name a client") // without it, it would be for all of the user
	case w.User == "" && w.Client == "":
		return hub.Target{}, badRequest("user and client are missing")
	}
	return hub.Target{User: w.User, Client: w.Client}, nil
}

// reach is the result of an order.
type reach struct {
	Clients int      `json:"clients"`
	Missing []string `json:"missing,omitempty"` // nodes that did not answer
}

func reached(r hub.Reach, err error) (any, error) { return reach{r.Clients, r.Missing}, err }

type subscribeParams struct {
	whom
	Channel  string           `json:"channel"`
	Info     json.RawMessage  `json:"info"`
	B64Info  []byte           `json:"b64info"`
	Data     json.RawMessage  `json:"data"`
	B64Data  []byte           `json:"b64data"`
	Since    *broker.Position `json:"recover_since"`
	ExpireAt int64            `json:"expire_at"`
	Override struct {
		Presence  any `json:"presence"`
		JoinLeave any `json:"join_leave"`
	} `json:"override"`
}

// either returns bytes, or else JSON that is not null.
func either(binary []byte, text json.RawMessage) []byte {
	if len(binary) == 0 && given(text) {
		return text
	}
	return binary
}

// given reports whether a parameter is there, and not null.
func given(raw json.RawMessage) bool { return len(raw) > 0 && string(raw) != "null" }

func (a *api) subscribe(ctx context.Context, p *subscribeParams) (any, error) {
	to, err := p.target()
	if err == nil {
		err = a.channel(p.Channel)
	}
	switch {
	case err != nil:
		return nil, err
	case p.ExpireAt != 0:
		return nil, notAvailable("expire_at")
	case p.Override.Presence != nil || p.Override.JoinLeave != nil:
		return nil, notAvailable("override: set the options of the channel")
	}
	j := hub.Join{Since: p.Since, Info: either(p.B64Info, p.Info), Data: either(p.B64Data, p.Data)}
	return reached(a.s.hub.Subscribe(ctx, to, p.Channel, j))
}

type unsubscribeParams struct {
	whom
	Channel string `json:"channel"`
}

func (a *api) unsubscribe(ctx context.Context, p *unsubscribeParams) (any, error) {
	to, err := p.target()
	if err == nil {
		err = a.channel(p.Channel)
	}
	if err != nil {
		return nil, err
	}
	return reached(a.s.hub.Unsubscribe(ctx, to, p.Channel, UnsubscribeServer, "server unsubscribe"))
}

type disconnectParams struct {
	whom
	Keep       []string `json:"whitelist"`
	Disconnect *struct {
		Code   uint16 `json:"code"`
		Reason string `json:"reason"`
	} `json:"disconnect"`
}

// reasonBytesMax is how many bytes the reason of a close frame may have (RFC 6455 §5.5).
const reasonBytesMax = 123

func (a *api) disconnect(ctx context.Context, p *disconnectParams) (any, error) {
	to, err := p.target()
	if err != nil {
		return nil, err
	}
	to.Except = p.Keep
	with := DisconnectForceNoReconnect
	if d := p.Disconnect; d != nil {
		with = Disconnect{protocol.CloseCode(d.Code), d.Reason}
	}
	switch {
	case with.Code < 3000 || with.Code > 4999:
		return nil, badRequest("disconnect.code is %d: it must be from 3000 to 4999", with.Code)
	case len(with.Reason) > reasonBytesMax || !utf8.ValidString(with.Reason):
		return nil, badRequest("disconnect.reason has %d bytes: at most %d are allowed", len(with.Reason), reasonBytesMax)
	}
	return reached(a.s.hub.Kick(ctx, to, with.Code, with.Reason))
}

type refreshParams struct {
	whom
	Expired  bool            `json:"expired"`
	ExpireAt int64           `json:"expire_at"` // in seconds since 1970; 0: never
	Info     json.RawMessage `json:"info"`
}

// refreshMax is the end of the year 9999.
const refreshMax = 253402300799

func (a *api) refresh(ctx context.Context, p *refreshParams) (any, error) {
	to, err := p.target()
	switch {
	case err != nil:
		return nil, err
	case given(p.Info):
		return nil, notAvailable("info")
	case p.ExpireAt < 0 || p.ExpireAt > refreshMax:
		return nil, badRequest("expire_at is %d: it must be in seconds since 1970", p.ExpireAt)
	}
	r := renewal{Expired: p.Expired}
	if p.ExpireAt > 0 {
		r.Expire = time.Unix(p.ExpireAt, 0)
	}
	data, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	return reached(a.s.hub.Command(ctx, to, commandRefresh, data))
}
