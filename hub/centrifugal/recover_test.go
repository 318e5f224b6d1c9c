package centrifugal

import (
	"strings"
	"testing"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/hub"
)

func TestRecover(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(name string) (hub.Options, error) {
			return hub.Options{History: 3, Latest: name == "latest", Join: hub.Everybody, Publish: hub.Everybody}, nil
		}}})
		for _, channel := range []string{"stream", "latest"} {
			a, b := n.client(f), n.client(1-f)
			first := a.subscribe(&cf.SubscribeRequest{Channel: channel})
			if !first.Recoverable || !first.Positioned || first.Offset != 0 || first.Epoch == "" || first.Recovered || first.WasRecovering {
				t.Errorf("subscribed %s", show(first))
			}
			b.publish(channel, `1`)
			a.expect(channel + ": 1 1")
			_ = a.conn.Close(1000, "")
			b.publish(channel, `2`)
			b.publish(channel, `{"n":3}`)

			a = n.client(f)
			again := a.subscribe(&cf.SubscribeRequest{Channel: channel, Recover: true, Offset: 1, Epoch: first.Epoch})
			missed := 2
			if channel == "latest" {
				missed = 1
			}
			if pubs := again.Publications; !again.Recovered || !again.WasRecovering || again.Offset != 1 || len(pubs) != missed ||
				string(pubs[missed-1].Data) != `{"n":3}` || pubs[missed-1].Offset != 3 || pubs[0].Info.Client != b.client {
				t.Errorf("%s: subscribed again %s", channel, show(again))
			}
			b.publish(channel, `4`)
			a.expect(channel + ": 4 4")
			a.good(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: channel}})

			upToDate := a.subscribe(&cf.SubscribeRequest{Channel: channel, Recover: true, Offset: 4, Epoch: first.Epoch})
			if !upToDate.Recovered || upToDate.Offset != 4 || len(upToDate.Publications) != 0 {
				t.Errorf("%s: nothing was missed %s", channel, show(upToDate))
			}
			a.good(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: channel}})

			// from the beginning: one more than the history keeps was missed
			lost := a.subscribe(&cf.SubscribeRequest{Channel: channel, Recover: true, Flag: 1, Epoch: first.Epoch})
			if lost.Recovered != (channel == "latest") || !lost.WasRecovering || lost.Id != 0 {
				t.Errorf("%s: too much was missed %s", channel, show(lost))
			}
			if !lost.Recovered && (lost.Offset != 4 || lost.Publications != nil) {
				t.Errorf("%s: not recovered %s", channel, show(lost))
			}
		}
	})
}

// A channel without a history has no positions, whatever is asked for.
func TestNothingToRecover(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(string) (hub.Options, error) {
			return hub.Options{Join: hub.Everybody}, nil
		}}})
		p := n.client(f)
		r := p.subscribe(&cf.SubscribeRequest{Channel: "a", Recover: true, Positioned: true, Recoverable: true, JoinLeave: true, Delta: "fossil", Offset: 7, Epoch: "x"})
		if r.Recoverable || r.Positioned || r.Recovered || !r.WasRecovering || r.Delta || r.Offset != 0 || r.Epoch != "" {
			t.Error(show(r))
		}
		n.say("a", "1")
		p.expect("a: 1")
	})
}

func TestHistoryMax(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, HistoryMax: 3, Hub: hub.Config{Channel: func(string) (hub.Options, error) {
			return hub.Options{History: 10, ReadHistory: hub.Everybody}, nil
		}}})
		for range 5 {
			n.say("room", "1")
		}
		p := n.client(f)
		for limit, want := range map[int32]int{-1: 3, -1 << 31: 3, 0: 0, 1: 1, 3: 3, 4: 3, 1e9: 3} {
			if r := p.good(&cf.Command{History: &cf.HistoryRequest{Channel: "room", Limit: limit}}).History; len(r.Publications) != want || r.Offset != 5 {
				t.Errorf("limit %d: %s", limit, show(r))
			}
		}
	})
}

// What a client is told at once has a bound, in bytes too.
func TestReplyBytesMax(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, ReplyBytesMax: 10_000, HistoryMax: 12, Hub: hub.Config{Channel: everybodyMay}})
		p := n.client(f)
		data := `"` + strings.Repeat("x", 1000) + `"`
		epoch := p.subscribe(&cf.SubscribeRequest{Channel: "room"}).Epoch
		for range 20 {
			n.say("room", data)
			p.next()
		}
		history := func(limit int32) int {
			t.Helper()
			return len(p.good(&cf.Command{History: &cf.HistoryRequest{Channel: "room", Limit: limit}}).History.Publications)
		}
		if got := history(9); got != 9 {
			t.Errorf("%d publications of 9", got)
		}
		for _, limit := range []int32{-1, 12, 1 << 30, -1 << 31} {
			if got := history(limit); got < 1 || got >= 10 {
				t.Errorf("limit %d: %d publications of 1 kB in a reply of 10 kB", limit, got)
			}
		}
		n.say("big", `"`+strings.Repeat("x", 20_000)+`"`)
		p.subscribe(&cf.SubscribeRequest{Channel: "big"})
		if got := p.good(&cf.Command{History: &cf.HistoryRequest{Channel: "big", Limit: 5}}).History.Publications; len(got) != 1 {
			t.Errorf("%d publications: one has to be told, or the client never gets on", len(got))
		}
		p.good(&cf.Command{Unsubscribe: &cf.UnsubscribeRequest{Channel: "room"}})
		if r := p.subscribe(&cf.SubscribeRequest{Channel: "room", Recover: true, Offset: 1, Epoch: epoch}); r.Recovered || r.Offset != 20 || r.Publications != nil {
			t.Errorf("recovered %s", show(r))
		}
		for range 115 { // 90 bytes each
			q := n.client(f)
			q.subscribe(&cf.SubscribeRequest{Channel: "room"})
			q.quiet() // it is present
		}
		if r := p.ask(&cf.Command{Presence: &cf.PresenceRequest{Channel: "room"}}); r.Error.GetCode() != 106 {
			t.Errorf("%s, want error 106", show(r))
		}
		if r := p.good(&cf.Command{PresenceStats: &cf.PresenceStatsRequest{Channel: "room"}}).PresenceStats; r.NumClients != 116 || r.NumUsers != 1 {
			t.Error(show(r))
		}
	})
}
