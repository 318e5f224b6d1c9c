package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"reflect"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/protocol"
)

// source is what a handler shows: an engine and a hub, or in tests a crowd that does not exist.
type source interface {
	// status fills in all but Process, Rights, Health and Links.
	status(s *Status)

	// survey calls visit for all connections, some at a time, which visit may not keep. It returns the loops that did not answer before ctx ended.
	// Without texts, Remote, Client, User and Handler are filled in by complete alone.
	survey(ctx context.Context, texts bool, visit func([]Connection)) (silent []int, err error)

	// complete fills in the texts of a connection of survey.
	complete(c *Connection)

	// These fail with errGone if there is no such connection.
	connection(ctx context.Context, id uint64) (*ConnectionDetail, error)
	pause(id uint64) error
	resume(id uint64) error
	end(id uint64, how CloseRequest) error
	tap(ctx context.Context, id uint64, payloadBytes int) (tap, error)

	// These fail with errNoHub without one.
	channels(ctx context.Context, pattern string, page hub.Page) (*Names, error)
	users(ctx context.Context, page hub.Page) (*Names, error)

	settings() Settings
}

// tap is an engine.Tap.
type tap interface {
	Read(ctx context.Context) (frames []engine.TappedFrame, dropped uint64, err error)
	Close()
}

var (
	errGone  = errors.New("there is no such connection: it has ended")
	errNoHub = errors.New("this program has no hub")
)

// served is the source that is served.
type served struct {
	e   *engine.Engine
	hub *hub.Hub // nil without one

	mu     sync.Mutex
	before []sample // of the loops, from the oldest on
}

// sample is what was known of the loops at a moment.
type sample struct {
	at    time.Time
	loops []engine.LoopInfo
	busy  []time.Duration // each loop, in its turns; all 0 without engine.Config.Timings
}

// sampleTime is over how long the load of a loop is told at least, if somebody asks all the time.
const sampleTime = 2 * time.Second

func (s *served) status(to *Status) {
	n := s.e.Metrics()
	to.Engine = Totals{
		Connections: n.Connections, Most: n.Most, Open: n.Open, Accepted: n.Accepted, Dialled: n.Dialled, Closed: n.Closed, DialFailed: n.DialFailed, Refused: n.Refused,
		LoopHeld: n.LoopHeld, MessagesIn: n.MessagesIn, MessagesOut: n.MessagesOut, BytesIn: n.BytesIn, BytesOut: n.BytesOut, MessagesSent: n.MessagesSent,
		Dropped: n.Dropped, Replaced: n.Replaced, Discarded: n.Discarded, RateLimited: n.RateLimited, TakeoverBytes: n.TakeoverBytes,
		BufferBytes: n.BudgetUsed, BufferMax: n.BudgetMax, Backpressure: n.Backpressure, QueuedBytes: n.QueuedBytes, GoRunning: n.GoRunning, GoWaiting: n.GoWaiting,
	}
	if d := s.e.Draining(); d.Stage != engine.NotDraining {
		to.Drain = &Drain{Stage: d.Stage.String(), Total: d.Total, Left: d.Left}
	}
	to.Loops = s.loops(n.Loops)
	for _, l := range s.e.Listeners() {
		to.Listeners = append(to.Listeners, listener(l))
	}
	if s.hub != nil {
		m := s.hub.Metrics()
		to.Hub = &Hub{Clients: m.Clients, Users: m.Users, Channels: m.Channels, Subscriptions: m.Subscriptions}
		if m.BrokerHealth != nil {
			to.Hub.BrokerError = m.BrokerHealth.Error()
		}
	}
}

func listener(l *engine.Listener) Listener {
	n := l.Stats()
	to := Listener{Name: l.String(), Connections: n.Connections, HalfOpen: n.HalfOpen, Accepted: n.Accepted, Refused: n.Refused, TLSFailed: n.TLSFailed,
		Packets: n.Packets, PacketsTooLong: n.PacketsTooLong, PacketsSent: n.PacketsSent}
	if !n.CertificateExpires.IsZero() {
		to.CertificateExpires = n.CertificateExpires.UTC().Format(time.RFC3339)
	}
	return to
}

// loops describes the loops, with their load since a moment that is at least sampleTime ago, or since the start. The load is what
// engine.Config.Timings has measured; without that, how often the watchdog found a turn under way.
func (s *served) loops(measured []engine.LoopMetrics) (all []Loop) {
	now := sample{at: time.Now(), loops: s.e.InspectLoops()}
	timed := false
	for i := range measured {
		now.busy = append(now.busy, measured[i].Busy)
		timed = timed || measured[i].Busy > 0
	}
	s.mu.Lock()
	for len(s.before) > 1 && now.at.Sub(s.before[1].at) >= sampleTime {
		s.before = s.before[1:]
	}
	var since sample
	if len(s.before) > 0 {
		since = s.before[0]
	}
	if n := len(s.before); n == 0 || now.at.Sub(s.before[n-1].at) >= sampleTime/4 {
		s.before = append(slices.Clone(s.before), now)
	}
	s.mu.Unlock()
	for i, l := range now.loops {
		to := Loop{Index: l.Index, Connections: l.Connections, Posts: l.Posts, InboxBytes: l.InboxBytes, Turns: l.Turns, Load: -1, TurnMs: -1, Held: l.Held,
			InTurn: l.InTurn, HeldMs: l.HeldFor.Milliseconds(), Callback: l.Callback, Conn: l.Conn}
		var was engine.LoopInfo
		if i < len(since.loops) {
			was = since.loops[i]
		}
		over := now.at.Sub(since.at)
		switch looks := l.Looks - was.Looks; {
		case timed && i < len(now.busy) && i < len(since.busy):
			to.Load = min(float64(now.busy[i]-since.busy[i])/float64(over), 1)
		case looks > 0:
			to.Load = float64(l.Busy-was.Busy) / float64(looks)
		}
		if turns := l.Turns - was.Turns; turns > 0 && to.Load >= 0 && !since.at.IsZero() {
			to.TurnMs = to.Load * over.Seconds() * 1000 / float64(turns)
		}
		all = append(all, to)
	}
	return all
}

func (s *served) survey(ctx context.Context, texts bool, visit func([]Connection)) (silent []int, err error) {
	names := map[*engine.Listener]string{nil: ""}
	var rows []Connection
	loops, err := s.e.Inspect(ctx, func(infos []engine.ConnInfo) bool {
		rows = rows[:0]
		for i := range infos {
			rows = append(rows, Connection{})
			row(&rows[i], &infos[i], names)
			if texts {
				s.complete(&rows[i])
			}
		}
		visit(rows)
		return true
	})
	for _, l := range loops {
		silent = append(silent, l.Index())
	}
	return silent, err
}

// row fills in all but the texts of a connection. names are those of listeners.
func row(to *Connection, i *engine.ConnInfo, names map[*engine.Listener]string) {
	name, ok := names[i.Listener]
	if !ok {
		name = i.Listener.String()
		names[i.Listener] = name
	}
	*to = Connection{
		ID: i.Conn.ID(), Loop: i.Conn.Loop().Index(), Listener: name, Origin: i.Origin.String(), User: i.Text, Phase: i.Phase.String(), Protocol: i.Protocol,
		Subprotocol: i.Subprotocol, TLS: i.TLS, AgeMs: i.Age.Milliseconds(), BytesIn: i.Stats.BytesIn, BytesOut: i.Stats.BytesOut, MessagesIn: i.Stats.MessagesIn,
		MessagesOut: i.Stats.MessagesOut, Dropped: i.Stats.Dropped, Replaced: i.Stats.Replaced, RateLimited: i.Stats.RateLimited, Queued: i.Queued,
		Paused: []string{}, Topics: i.Topics, Tapped: i.Tapped, conn: i.Conn, handler: i.Handler, client: i.Client,
	}
	switch i.Deflate {
	case engine.DeflateTakeover:
		to.Compression = "permessage-deflate; takeover"
	case engine.DeflateNoTakeover:
		to.Compression = "permessage-deflate"
	}
	if i.Paused != 0 {
		to.Paused = i.Paused.Names()
	}
}

func (s *served) complete(c *Connection) {
	if c.Remote = c.conn.RemoteAddr().String(); c.client.IsValid() {
		c.Client = c.client.String()
	}
	if c.User == "" && s.hub != nil {
		if client := s.hub.ClientOf(c.conn); client != nil {
			c.User = client.User()
		}
	}
	c.Handler = handlerName(c.handler)
}

// handlerName is the name of the function that gets the messages, or else of the first that there is.
func handlerName(h *engine.Handler) string {
	switch {
	case h == nil:
	case h.OnMessage != nil:
		return functionName(h.OnMessage)
	case h.OnOpen != nil:
		return functionName(h.OnOpen)
	case h.OnClose != nil:
		return functionName(h.OnClose)
	}
	return ""
}

func functionName(f any) string {
	if pc := runtime.FuncForPC(reflect.ValueOf(f).Pointer()); pc != nil {
		return pc.Name()
	}
	return ""
}

func (s *served) connection(ctx context.Context, id uint64) (*ConnectionDetail, error) {
	conn := s.e.Conn(id)
	if conn == nil {
		return nil, errGone
	}
	d, err := conn.Inspect(ctx)
	if err != nil {
		return nil, goneIf(err)
	}
	to := &ConnectionDetail{Local: conn.LocalAddr().String(), TLSServerName: d.TLSServerName, Congested: d.Congested, PingUnanswered: d.Unanswered,
		TopicNames: append([]string{}, d.TopicNames...), Channels: []string{}}
	row(&to.Connection, &d.ConnInfo, map[*engine.Listener]string{nil: ""})
	s.complete(&to.Connection)
	if d.TLSVersion != 0 {
		to.TLSVersion, to.TLSCipher = tls.VersionName(d.TLSVersion), tls.CipherSuiteName(d.TLSCipher)
	}
	if state := conn.State(); state != nil {
		to.State = reflect.TypeOf(state).String()
	}
	if s.hub != nil {
		if client := s.hub.ClientOf(conn); client != nil {
			names := client.Channels()
			to.HubClient, to.Channels = client.ID(), append(to.Channels, names[:min(len(names), TopicsShown)]...)
		}
	}
	return to, nil
}

// goneIf is errGone for the error of a connection that has ended.
func goneIf(err error) error {
	if errors.Is(err, engine.ErrClosed) || errors.Is(err, engine.ErrStopped) {
		return errGone
	}
	return err
}

// on has do done to a connection.
func (s *served) on(id uint64, do func(*engine.Conn) error) error {
	conn := s.e.Conn(id)
	if conn == nil {
		return errGone
	}
	return goneIf(do(conn))
}

func (s *served) pause(id uint64) error  { return s.on(id, (*engine.Conn).PauseByOperator) }
func (s *served) resume(id uint64) error { return s.on(id, (*engine.Conn).ResumeByOperator) }

func (s *served) end(id uint64, how CloseRequest) error {
	return s.on(id, func(c *engine.Conn) error {
		if how.Abort {
			return c.Abort()
		}
		return c.Close(protocol.CloseCode(how.Code), how.Reason)
	})
}

func (s *served) tap(ctx context.Context, id uint64, payloadBytes int) (t tap, err error) {
	err = s.on(id, func(c *engine.Conn) error {
		t, err = c.Tap(ctx, engine.TapOptions{PayloadBytes: payloadBytes, FramesMax: framesMax})
		return err
	})
	return t, err
}

func (s *served) channels(ctx context.Context, pattern string, page hub.Page) (*Names, error) {
	if s.hub == nil {
		return nil, errNoHub
	}
	list, err := s.hub.ListChannels(ctx, pattern, page)
	return names(list), err
}

func (s *served) users(ctx context.Context, page hub.Page) (*Names, error) {
	if s.hub == nil {
		return nil, errNoHub
	}
	list, err := s.hub.ListUsers(ctx, page)
	return names(list), err
}

func names(list hub.List[hub.Listed]) *Names {
	to := &Names{Items: []Name{}, More: list.More, Missing: append([]string{}, list.Missing...)}
	for _, i := range list.Items {
		to.Items = append(to.Items, Name(i))
	}
	return to
}

func (s *served) settings() Settings {
	to := Settings{Engine: settings(s.e.Settings()), Listeners: []ListenerSetting{}}
	for _, l := range s.e.Listeners() {
		to.Listeners = append(to.Listeners, ListenerSetting{Name: l.String(), Settings: settings(l.Settings())})
	}
	return to
}

func settings(of []engine.Setting) []Setting {
	all := []Setting{}
	for _, s := range of {
		all = append(all, Setting(s))
	}
	return all
}
