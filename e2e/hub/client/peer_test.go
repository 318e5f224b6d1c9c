package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/centrifugal/centrifuge-go"
	"github.com/centrifugal/gocent/v3"
	"github.com/golang-jwt/jwt/v5"
)

// patience is how long a test waits for what has to come.
const patience = 10 * time.Second

// format is one of the two of the protocol.
type format struct {
	name   string
	client func(string, centrifuge.Config) *centrifuge.Client
}

var formats = []format{{"json", centrifuge.NewJsonClient}, {"protobuf", centrifuge.NewProtobufClient}}

// both runs a check in both formats.
func both(t *testing.T, check func(t *testing.T, f format)) {
	t.Parallel()
	for _, f := range formats {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			check(t, f)
		})
	}
}

// token signs claims.
func token(t *testing.T, claims jwt.MapClaims) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString([]byte(*secret))
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func in(d time.Duration) int64 { return time.Now().Add(d).Unix() }

// fresh returns a name that no other test has, so that they can share a server.
func fresh(what string) string {
	return fmt.Sprintf("%s-%d-%d", what, time.Now().UnixNano(), names.Add(1))
}

var names atomic.Int64

// event is something that a client or a subscription says.
type event struct {
	kind                       string
	code                       uint32
	reason, channel            string
	data                       string
	offset                     uint64
	epoch                      string
	info                       *centrifuge.ClientInfo
	tags                       map[string]string
	wasRecovering, recovered   bool
	recoverable, positionedToo bool
	err                        error
}

func (e event) said(code uint32, reason string) bool { return e.code == code && e.reason == reason }

// events are what is said, in order, taken one by one.
type events struct {
	of      string
	mu      sync.Mutex
	untaken []event
	more    chan struct{} // closed when something is added
}

func (s *events) add(e event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untaken = append(s.untaken, e)
	if s.more != nil {
		close(s.more)
		s.more = nil
	}
}

// take removes the first of a kind that passes. Without one, more is closed when there is something new.
func (s *events) take(kind string, passes func(event) bool) (e event, ok bool, more <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, e := range s.untaken {
		if e.kind == kind && passes(e) {
			s.untaken = append(s.untaken[:i:i], s.untaken[i+1:]...)
			return e, true, nil
		}
	}
	if s.more == nil {
		s.more = make(chan struct{})
	}
	return event{}, false, s.more
}

// next takes the first event of a kind; it may be still to come.
func (s *events) next(t *testing.T, kind string) event {
	t.Helper()
	return s.that(t, kind, func(event) bool { return true })
}

// that takes the first that passes.
func (s *events) that(t *testing.T, kind string, passes func(event) bool) event {
	t.Helper()
	timeout := time.After(patience)
	for {
		e, ok, more := s.take(kind, passes)
		if ok {
			return e
		}
		select {
		case <-more:
		case <-timeout:
			s.mu.Lock()
			defer s.mu.Unlock()
			t.Fatalf("after %v no %s of %s, which said %+v", patience, kind, s.of, s.untaken)
		}
	}
}

// no fails if something of a kind was said and not taken.
func (s *events) no(t *testing.T, kind string) {
	t.Helper()
	if e, ok, _ := s.take(kind, func(event) bool { return true }); ok {
		t.Errorf("%s said %+v", s.of, e)
	}
}

// peer is a client and what it says.
type peer struct {
	*centrifuge.Client
	*events
	id string // of the connection, when it is connected
}

// dial makes a client that ends with the test.
func dial(t *testing.T, f format, cfg centrifuge.Config) *peer {
	t.Helper()
	cfg.MinReconnectDelay, cfg.MaxReconnectDelay = 10*time.Millisecond, 200*time.Millisecond
	p := &peer{Client: f.client("ws://"+*addr+"/connection/websocket", cfg), events: &events{of: "the client"}}
	t.Cleanup(p.Close)
	p.OnConnecting(func(e centrifuge.ConnectingEvent) { p.add(event{kind: "connecting", code: e.Code, reason: e.Reason}) })
	p.OnConnected(func(e centrifuge.ConnectedEvent) { p.add(event{kind: "connected", data: e.ClientID}) })
	p.OnDisconnected(func(e centrifuge.DisconnectedEvent) {
		p.add(event{kind: "disconnected", code: e.Code, reason: e.Reason})
	})
	p.OnError(func(e centrifuge.ErrorEvent) { p.add(event{kind: "error", err: e.Error}) })
	p.OnSubscribed(func(e centrifuge.ServerSubscribedEvent) {
		p.add(event{kind: "subscribed", channel: e.Channel, data: string(e.Data), wasRecovering: e.WasRecovering, recovered: e.Recovered, recoverable: e.Recoverable})
	})
	p.OnUnsubscribed(func(e centrifuge.ServerUnsubscribedEvent) { p.add(event{kind: "unsubscribed", channel: e.Channel}) })
	p.OnPublication(func(e centrifuge.ServerPublicationEvent) { p.add(published(e.Channel, e.Publication)) })
	p.OnJoin(func(e centrifuge.ServerJoinEvent) {
		p.add(event{kind: "join", channel: e.Channel, info: &e.ClientInfo})
	})
	p.OnLeave(func(e centrifuge.ServerLeaveEvent) {
		p.add(event{kind: "leave", channel: e.Channel, info: &e.ClientInfo})
	})
	return p
}

func published(channel string, p centrifuge.Publication) event {
	return event{kind: "publication", channel: channel, data: string(p.Data), offset: p.Offset, info: p.Info, tags: p.Tags}
}

// connect connects it.
func (p *peer) connect(t *testing.T) {
	t.Helper()
	if err := p.Connect(); err != nil {
		t.Fatal(err)
	}
	p.id = p.next(t, "connected").data
}

// user is a connected client of a user.
func user(t *testing.T, f format, name string) *peer {
	t.Helper()
	p := dial(t, f, centrifuge.Config{Token: token(t, jwt.MapClaims{"sub": name, "info": map[string]string{"nick": strings.ToUpper(name)}})})
	p.connect(t)
	return p
}

// follower is a subscription and what it says.
type follower struct {
	*centrifuge.Subscription
	*events
}

// subscription makes one, which is not yet subscribed.
func (p *peer) subscription(t *testing.T, channel string, cfg centrifuge.SubscriptionConfig) *follower {
	t.Helper()
	cfg.MinResubscribeDelay, cfg.MaxResubscribeDelay = 10*time.Millisecond, 200*time.Millisecond
	s, err := p.NewSubscription(channel, cfg)
	if err != nil {
		t.Fatal(err)
	}
	l := &follower{Subscription: s, events: &events{of: "the subscription to " + channel}}
	s.OnSubscribing(func(e centrifuge.SubscribingEvent) { l.add(event{kind: "subscribing", code: e.Code, reason: e.Reason}) })
	s.OnSubscribed(func(e centrifuge.SubscribedEvent) {
		said := event{kind: "subscribed", data: string(e.Data), wasRecovering: e.WasRecovering, recovered: e.Recovered, recoverable: e.Recoverable, positionedToo: e.Positioned}
		if e.StreamPosition != nil {
			said.offset, said.epoch = e.StreamPosition.Offset, e.StreamPosition.Epoch
		}
		l.add(said)
	})
	s.OnUnsubscribed(func(e centrifuge.UnsubscribedEvent) {
		l.add(event{kind: "unsubscribed", code: e.Code, reason: e.Reason})
	})
	s.OnError(func(e centrifuge.SubscriptionErrorEvent) { l.add(event{kind: "error", err: e.Error}) })
	s.OnPublication(func(e centrifuge.PublicationEvent) { l.add(published(channel, e.Publication)) })
	s.OnJoin(func(e centrifuge.JoinEvent) { l.add(event{kind: "join", info: &e.ClientInfo}) })
	s.OnLeave(func(e centrifuge.LeaveEvent) { l.add(event{kind: "leave", info: &e.ClientInfo}) })
	return l
}

// start asks for the subscription.
func (l *follower) start(t *testing.T) {
	t.Helper()
	if err := l.Subscribe(); err != nil {
		t.Fatal(err)
	}
}

// follow makes a subscription and waits until it is subscribed, with what the server said about it.
func (p *peer) follow(t *testing.T, channel string, cfg centrifuge.SubscriptionConfig) (*follower, event) {
	t.Helper()
	l := p.subscription(t, channel, cfg)
	l.start(t)
	return l, l.next(t, "subscribed")
}

// gets takes publications with these data, in this order.
func (s *events) gets(t *testing.T, data ...string) {
	t.Helper()
	for _, want := range data {
		if got := s.next(t, "publication").data; got != want {
			t.Fatalf("%s got %s, not %s", s.of, got, want)
		}
	}
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return c
}

func backend() *gocent.Client {
	return gocent.New(gocent.Config{Addr: "http://" + *addr + "/api", Key: *apiKey})
}

// publish publishes as a backend.
func publish(t *testing.T, channel string, data ...string) (last gocent.PublishResult) {
	t.Helper()
	for _, d := range data {
		r, err := backend().Publish(ctx(t), channel, []byte(d))
		if err != nil {
			t.Fatal(err)
		}
		last = r
	}
	return last
}

// ok fails if there is an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// fails fails unless err is an error of the protocol with this code.
func fails(t *testing.T, code uint32, err error) {
	t.Helper()
	var e *centrifuge.Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("%v, not error %d", err, code)
	}
}

// same fails unless both are the same, as JSON has them.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	g, err := json.Marshal(got)
	ok(t, err)
	w, err := json.Marshal(want)
	ok(t, err)
	if string(g) != string(w) {
		t.Fatalf("%s: %s, not %s", what, g, w)
	}
}
