package centrifugal

import (
	"context"
	"time"
)

// Request is what a client said beside what Hooks.Connect and Hooks.Join get as arguments. It is valid until the hook
// returns.
type Request struct {
	Name, Version string            // connect: of the client's library or program, as it says
	Headers       map[string]string // connect: in place of HTTP fields, which browsers cannot set
	Token         string            // connect: if Config.Tokens is nil, the program has to verify it
	State         any               // connect: what Config.OnUpgrade returned

	// Data, of a subscribe command, is what the client said; a hook may replace it by what the client is to be told, or
	// by nil. Of a connect command it is hub.Connect.Data, in the same way.
	Data []byte

	// Expire is when the connection, or the subscription, ends unless the client refreshes it by a token; zero: never.
	// A token has set it; a hook may.
	Expire time.Time
}

type requestKey struct{}

// RequestOf returns the Request of the command that a hook decides about. Of another context it is an empty one.
func RequestOf(ctx context.Context) *Request {
	if r, _ := ctx.Value(requestKey{}).(*Request); r != nil {
		return r
	}
	return new(Request)
}

func (r *Request) in(ctx context.Context) context.Context {
	return context.WithValue(ctx, requestKey{}, r)
}
