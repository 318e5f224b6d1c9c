package centrifugal

import (
	"context"
	"errors"
	"fmt"
	"time"

	cf "github.com/centrifugal/protocol"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Error is an error that a client is told as the answer to its command. A hook may return one, with a code from 400 to 1999,
// or one of those below.
type Error struct {
	Code      uint32
	Message   string
	Temporary bool // the client may try again later
}

// Error implements error.
func (e Error) Error() string { return fmt.Sprintf("centrifugal: error %d: %s", e.Code, e.Message) }

// Disconnect closes the connection of a client. A hook may return one, with a code from 4000 to 4999, or one of those below.
// With 3500 to 3999 and 4500 to 4999 the client does not connect again.
type Disconnect struct {
	Code   protocol.CloseCode
	Reason string // at most 123 bytes
}

// Error implements error.
func (d Disconnect) Error() string {
	return fmt.Sprintf("centrifugal: disconnect %d: %s", d.Code, d.Reason)
}

// The errors of the protocol.
var (
	ErrInternal        = Error{100, "internal server error", true}
	ErrUnauthorized    = Error{101, "unauthorized", false}
	ErrUnknownChannel  = Error{102, "unknown channel", false}
	ErrDenied          = Error{103, "permission denied", false}
	ErrMethod          = Error{104, "method not found", false}
	ErrSubscribed      = Error{105, "already subscribed", false}
	ErrLimit           = Error{106, "limit exceeded", false}
	ErrBadRequest      = Error{107, "bad request", false}
	ErrNotAvailable    = Error{108, "not available", false}
	ErrTokenExpired    = Error{109, "token expired", false}
	ErrExpired         = Error{110, "expired", false}
	ErrTooManyRequests = Error{111, "too many requests", true}
	ErrUnrecoverable   = Error{112, "unrecoverable position", false}
)

// The disconnects of the protocol that the Server uses, or a program may.
var (
	DisconnectShutdown          = Disconnect{3001, "shutdown"}
	DisconnectServerError       = Disconnect{3004, "internal server error"}
	DisconnectExpired           = Disconnect{3005, "connection expired"}
	DisconnectSubExpired        = Disconnect{3006, "subscription expired"}
	DisconnectSlow              = Disconnect{3008, "slow"}
	DisconnectInsufficientState = Disconnect{3010, "insufficient state"}
	DisconnectForceReconnect    = Disconnect{3011, "force reconnect"}
	DisconnectNoPong            = Disconnect{3012, "no pong"}
	DisconnectTooManyRequests   = Disconnect{3013, "too many requests"}
	DisconnectInvalidToken      = Disconnect{3500, "invalid token"}
	DisconnectBadRequest        = Disconnect{3501, "bad request"}
	DisconnectStale             = Disconnect{3502, "stale"}
	DisconnectForceNoReconnect  = Disconnect{3503, "force disconnect"}
	DisconnectConnectionLimit   = Disconnect{3504, "connection limit"}
	DisconnectChannelLimit      = Disconnect{3505, "channel limit"}
	DisconnectPermissionDenied  = Disconnect{3507, "permission denied"}
	DisconnectNotAvailable      = Disconnect{3508, "not available"}
	disconnectFrameBytes        = Disconnect{protocol.CloseMessageTooBig, "message size limit exceeded"}
)

// Codes of the push unsubscribe. From 2500 on, the client subscribes again.
const (
	UnsubscribeServer       protocol.CloseCode = 2000
	UnsubscribeInsufficient protocol.CloseCode = 2500
	UnsubscribeExpired      protocol.CloseCode = 2501
)

// known are the errors of the hub and of the brokers that have a code of the protocol.
var known = []struct {
	err error
	is  Error
}{
	{hub.ErrDenied, ErrDenied},
	{hub.ErrUnknownChannel, ErrUnknownChannel},
	{hub.ErrMethod, ErrMethod},
	{hub.ErrJoined, ErrSubscribed},
	{hub.ErrLimit, ErrLimit},
	{hub.ErrName, ErrBadRequest},
	{broker.ErrUnrecoverable, ErrUnrecoverable},
	{broker.ErrTooLarge, ErrLimit},
}

// answer says what becomes of a command that failed: it returns the Error that the client is told, the Disconnect that closes its
// connection, or errGone.
func (s *Server) answer(x *session, err error) error {
	var e Error
	var d Disconnect
	switch {
	case errors.As(err, &d):
		return d
	case errors.As(err, &e) && e.Code > 0:
		return e
	case errors.Is(err, hub.ErrGone), errors.Is(err, engine.ErrClosed), errors.Is(err, engine.ErrBackpressure), errors.Is(err, engine.ErrStopped):
		return errGone
	case errors.Is(err, hub.ErrClosed):
		return DisconnectShutdown
	}
	for _, k := range known {
		if errors.Is(err, k.err) {
			return k.is
		}
	}
	if !errors.Is(err, context.Canceled) && !s.away(err) {
		s.log.Error("a command failed; its client is told error 100", zap.Uint64("conn", x.conn.ID()), zap.Error(err))
	}
	return ErrInternal
}

// awayLog is from one line in the log to the next while a broker cannot be reached: every command fails then.
const awayLog = 10 * time.Second

// away reports whether an error says that a broker, or what a hook asks, cannot be reached, and logs that now and then.
func (s *Server) away(err error) bool {
	if !errors.Is(err, broker.ErrUnavailable) && !errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	now, last := s.time()+1, s.awayLogged.Load() // 0: never
	if (last == 0 || now-last >= int64(awayLog)) && s.awayLogged.CompareAndSwap(last, now) {
		s.log.Error("a broker cannot be reached, or a hook took too long; who asks is told error 100", zap.Error(err))
	}
	return true
}

// errGone is for a connection that has ended: nobody is told anything.
var errGone = errors.New("centrifugal: the connection has ended")

func (e Error) proto() *cf.Error {
	return &cf.Error{Code: e.Code, Message: e.Message, Temporary: e.Temporary}
}
