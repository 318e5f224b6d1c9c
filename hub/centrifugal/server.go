package centrifugal

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/internal/logs"
)

// Server serves the protocol to the connections of one engine.
type Server struct {
	cfg     Config
	e       *engine.Engine
	hub     *hub.Hub
	log     *zap.Logger
	handler engine.Handler
	pings   [formats][]byte
	now     func() time.Time
	waits   bool // commands may have to wait: for the program, or for a broker that is not of this process

	ticks    func(time.Duration) (ticks <-chan time.Time, stop func())
	draining atomic.Bool
	open     atomic.Int64 // connections

	awayLogged atomic.Int64 // when; 0: never

	made  time.Time
	began int64         // made, in nanoseconds since 1970: when slots of rings began to be counted
	step  time.Duration // from one slot to the next
	rings []*ring       // of the loops, by their index
}

// New makes a Server, with a hub of its own. Its connections come from Engine.Listen with Handler. It ends with the engine, or by
// Close.
func New(e *engine.Engine, cfg Config) (*Server, error) {
	if err := cfg.settle(); err != nil {
		return nil, err
	}
	cfg.Logger = logs.Bounded(cmp.Or(cfg.Logger, e.Logger()))
	cfg.Hub.Logger = cmp.Or(cfg.Hub.Logger, cfg.Logger)
	s := &Server{cfg: cfg, e: e, ticks: newTicks, log: cfg.Logger, now: time.Now, made: time.Now()}
	s.began = s.made.UnixNano()
	for f := range formats {
		s.pings[f] = f.ping()
	}
	s.handler = engine.Handler{OnUpgrade: s.onUpgrade, OnOpen: s.onOpen, OnMessage: s.onMessage, OnClose: s.onClose}
	s.newRings(e)
	k := &cfg.Hub.Hooks
	s.waits = cfg.Hub.Broker != nil || cfg.OnSend != nil || k.Connect != nil || k.Join != nil || k.Publish != nil || k.History != nil || k.Presence != nil || k.RPC != nil
	h := cfg.Hub
	h.Formats, h.Encode = int(formats), encode
	h.Joining, h.OnLeft, h.OnCommand = s.joining, s.onLeft, s.onCommand
	if hook := h.Hooks.Connect; hook != nil {
		h.Hooks.Connect = asked(hook)
	}
	if hook := h.Hooks.Join; hook != nil {
		h.Hooks.Join = askedToJoin(hook)
	}
	var err error
	s.hub, err = hub.New(e, h)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Hub is the hub of the Server. Any goroutine may call it.
func (s *Server) Hub() *hub.Hub { return s.hub }

// Handler is for Engine.Listen, with an address of ws:// or wss://. A Handler of the program that serves other paths too calls its
// OnUpgrade, and sets Upgrade.Handler to it, for those that are the Server's.
func (s *Server) Handler() *engine.Handler { return &s.handler }

// Close closes all connections of clients with 3001, and the hub: see hub.Hub.Close. Connections that come later are closed
// too.
func (s *Server) Close(ctx context.Context) error {
	for _, c := range s.hub.Clients() {
		if err := c.Conn().Close(DisconnectShutdown.Code, DisconnectShutdown.Reason); errors.Is(err, engine.ErrStopped) {
			break
		}
	}
	return s.hub.Close(ctx)
}

// Subprotocols of the handshake. Without one, and without ?cf_protocol=protobuf, the format is JSON.
const (
	subprotocolJSON     = "centrifuge-json"
	subprotocolProtobuf = "centrifuge-protobuf"
)

func (s *Server) onUpgrade(u *engine.Upgrade) error {
	r := u.Request
	if r.Path != s.cfg.Path {
		return engine.Refuse(404, "not found")
	}
	if s.draining.Load() {
		return refuse()
	}
	x := &session{s: s, index: -1}
	for offered := range r.Fields.Tokens("Sec-WebSocket-Protocol") {
		switch offered {
		case subprotocolJSON:
			u.Subprotocol = subprotocolJSON
		case subprotocolProtobuf:
			u.Subprotocol = subprotocolProtobuf
		default:
			continue
		}
		break
	}
	if u.Subprotocol == subprotocolProtobuf || u.Subprotocol == "" && strings.Contains(r.RawQuery, "protobuf") && wantsProtobuf(r.Query()) {
		x.format = formatProtobuf
	}
	if s.cfg.OnUpgrade != nil {
		state, err := s.cfg.OnUpgrade(u)
		if err != nil {
			return err
		}
		x.start = &start{state: state}
	}
	u.State = x
	return nil
}

func wantsProtobuf(query map[string][]string) bool {
	for _, key := range []string{"cf_protocol", "format"} {
		if v := query[key]; len(v) > 0 && v[0] == "protobuf" {
			return true
		}
	}
	return false
}

// sessionOf returns the session of a connection; nil if it is none of a Server.
func sessionOf(c *engine.Conn) *session {
	x, _ := c.State().(*session)
	return x
}

func (s *Server) onOpen(c *engine.Conn) {
	x := sessionOf(c)
	if x == nil {
		_ = c.Close(DisconnectServerError.Code, DisconnectServerError.Reason) // a Handler of the program has not called OnUpgrade
		return
	}
	x.open(c)
}

func (s *Server) onMessage(c *engine.Conn, m engine.Message) {
	if x := sessionOf(c); x != nil {
		x.receive(m)
	}
}

func (s *Server) onClose(c *engine.Conn, _ *engine.CloseError) {
	if x := sessionOf(c); x != nil {
		x.over()
	}
}
