package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/protocol"
)

// Bounds of one connection.
const (
	helloTimeout     = 15 * time.Second
	refusedHellosMax = 3
	requestPerSecond = 20 // of any kind; beyond the burst the connection is closed
	requestBurst     = 60
)

// client is one WebSocket connection. Only its own callbacks touch it, which are serial, so it
// needs no lock.
type client struct {
	head    [2]int
	refused int // hellos
	rate    bucket
	timer   *time.Timer
	room    *room // nil until welcomed
	session *session
}

// handler connects the callbacks of the engine with the rooms.
func handler(h *hub, log *zap.Logger) engine.Handler {
	return engine.Handler{
		OnUpgrade: func(u *engine.Upgrade) error {
			if u.Request.Path != "/ws" {
				return engine.Refuse(http.StatusNotFound, "the chat is at /ws")
			}
			u.State = &client{head: handshakeBytes(u.Request)}
			return nil
		},
		OnOpen: func(c *engine.Conn) {
			c.State().(*client).timer = time.AfterFunc(helloTimeout, func() {
				_ = c.Close(protocol.ClosePolicyViolation, "no hello")
			})
		},
		OnMessage: func(c *engine.Conn, m engine.Message) {
			if m.Type != engine.Text {
				_ = c.Close(protocol.CloseUnsupportedData, "text only")
				return
			}
			var q request
			if err := json.Unmarshal(m.Data, &q); err != nil {
				_ = c.Close(protocol.ClosePolicyViolation, "not a JSON request")
				return
			}
			c.State().(*client).dispatch(h, c, &q, time.Now())
		},
		OnClose: func(c *engine.Conn, e *engine.CloseError) {
			cl := c.State().(*client)
			cl.timer.Stop()
			if cl.room != nil {
				cl.room.leave(cl.session, c, time.Now())
			}
			log.Debug("closed", zap.Uint64("conn", c.ID()), zap.Uint16("code", uint16(e.Code)), zap.String("reason", e.Reason))
		},
	}
}

func (cl *client) dispatch(h *hub, p peer, q *request, now time.Time) {
	if !cl.rate.take(now, requestPerSecond, requestBurst) {
		_ = p.Close(protocol.ClosePolicyViolation, "too many requests")
		return
	}
	switch {
	case q.T == "hello" && cl.room == nil:
		cl.hello(h, p, q, now)
	case q.T == "say" && cl.room != nil:
		if _, err := cl.room.say(cl.session, q, p, now); err != nil {
			reject(p, q.ID, err)
		}
	case q.T == "typing" && cl.room != nil:
		cl.room.hint(cl.session, now)
	default:
		_ = p.Close(protocol.ClosePolicyViolation, "unexpected request")
	}
}

func (cl *client) hello(h *hub, p peer, q *request, now time.Time) {
	if q.Version != version {
		_ = p.Close(protocol.ClosePolicyViolation, "another version of the protocol: reload the page")
		return
	}
	r, s, err := h.join(q, p, cl.head, now)
	if err != nil {
		reject(p, "", err)
		if cl.refused++; cl.refused >= refusedHellosMax {
			_ = p.Close(protocol.ClosePolicyViolation, "too many refused hellos")
		}
		return
	}
	cl.room, cl.session = r, s
	cl.timer.Stop()
}

// reject tells the client why a request was refused.
func reject(p peer, id string, err error) {
	var why *refusal
	if errors.As(err, &why) {
		told := *why
		told.ID = id
		deliver(p, encode(told))
	}
}
