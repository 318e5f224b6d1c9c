package centrifugal

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// The answer to a short batch is bounded, at /api/batch and at /api.
func TestAPIAnswersMax(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	a := n.API(APIConfig{Keys: []string{"k"}, AnswersMax: 10_000})
	_, err := n.Hub().Publish(ctx, "room", hub.Publication{Data: []byte(`"` + strings.Repeat("x", 4000) + `"`)})
	must(t, err)
	for path, body := range map[string]string{
		"/api/batch": `{"commands":[` + strings.Repeat(`{"history":{"channel":"room","limit":-1}},`, 19) + `{"info":{}}]}`,
		"/api":       strings.Repeat(`{"method":"history","params":{"channel":"room","limit":-1}}`, 20),
	} {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Header.Set("X-API-Key", "k")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		if s := w.Body.String(); w.Code != 200 || len(s) > 20_000 || strings.Count(s, "xxxx\"") != 3 || strings.Count(s, `"code":106`) != 17 {
			t.Errorf("%s: status %d, %d bytes", path, w.Code, len(s))
		}
	}
	r := httptest.NewRequest("POST", "/api/channels", strings.NewReader(`{"pattern":"`+strings.Repeat("*", broker.ChannelBytesMax+1)+`"}`))
	r.Header.Set("X-API-Key", "k")
	w := httptest.NewRecorder()
	if a.ServeHTTP(w, r); !strings.Contains(w.Body.String(), `"code":107`) {
		t.Errorf("a long pattern: %s", w.Body)
	}
}

// refusing has no room for anybody.
type refusing struct {
	*memory.Broker
	asked chan struct{}
}

func (r refusing) Enter(context.Context, string, broker.Info, time.Duration) error {
	r.asked <- struct{}{}
	return errors.New("refused")
}

// A client that others cannot see is not told that the server has subscribed it.
func TestNotTold(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	r := refusing{m, make(chan struct{}, 1)}
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Broker: m, History: m, Presence: r}})
	p := n.client(formatJSON)
	must(t, only(n.Hub().Subscribe(ctx, hub.Target{Client: p.client}, "room", hub.Join{})))
	wait(t, r.asked, "the presence")
	p.send(&cf.Command{Presence: &cf.PresenceRequest{Channel: "room"}})
	if r := p.next(); r.Error == nil || r.Error.Code != ErrDenied.Code {
		t.Errorf("received %s", show(r))
	}
}

// mute does not let others know who joins.
type mute struct{ *memory.Broker }

func (m mute) Publish(ctx context.Context, channel string, p broker.Publication) error {
	if p.Kind == hub.KindJoin {
		return errors.New("refused")
	}
	return m.Broker.Publish(ctx, channel, p)
}

// A client that was told that the server has subscribed it, and is not, is closed: it comes back.
func TestToldInVain(t *testing.T) {
	m, err := memory.New(memory.Config{})
	must(t, err)
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Broker: mute{m}, History: m, Presence: m}})
	p := n.client(formatJSON)
	must(t, only(n.Hub().Subscribe(ctx, hub.Target{Client: p.client}, "room", hub.Join{})))
	if r := p.next(); r.Push == nil || r.Push.Subscribe == nil {
		t.Fatalf("received %s", show(r))
	}
	p.over(DisconnectInsufficientState)
}
