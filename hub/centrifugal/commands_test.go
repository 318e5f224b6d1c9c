package centrifugal

import (
	"testing"

	cf "github.com/centrifugal/protocol"
)

func TestRecover(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true})
		a, b := n.client(f), n.client(1-f)
		got := a.subscribe(&cf.SubscribeRequest{Channel: "news"})
		if !got.Recoverable || !got.Positioned || got.Offset != 0 || got.Epoch == "" || got.Recovered || got.WasRecovering {
			t.Errorf("subscribed %s", show(got))
		}
		b.subscribe(&cf.SubscribeRequest{Channel: "news"})
		a.expect("news: join")
		b.publish1("news", `{"n":1}`)
		a.expect(`news: 1 {"n":1}`)
		_ = a.conn.Close(1000, "")
		b.expect("news: leave")
		b.publish1("news", `{"n":2}`)
		b.publish1("news", `{"n":3}`)
		c := n.client(f)
		again := c.subscribe(&cf.SubscribeRequest{Channel: "news", Recover: true, Offset: 1, Epoch: got.Epoch})
		if !again.Recovered || !again.WasRecovering || again.Offset != 1 || len(again.Publications) != 2 || string(again.Publications[1].Data) != `{"n":3}` || again.Publications[0].Info.Client != b.client {
			t.Errorf("subscribed again %s", show(again))
		}
		b.expect("news: join")
		b.publish1("news", `{"n":4}`)
		c.expect(`news: 4 {"n":4}`)
		b.quiet()
	})
}

// publish1 publishes to a channel of which the peer is a member.
func (p *peer) publish1(channel, data string) {
	p.t.Helper()
	p.send(&cf.Command{Publish: &cf.PublishRequest{Channel: channel, Data: cf.Raw(data)}})
	for answered, came := false, false; !answered || !came; {
		switch r := p.next(); {
		case r.Id == p.id && r.Error == nil:
			answered = true
		case r.Push != nil && r.Push.Pub != nil && string(r.Push.Pub.Data) == data:
			came = true
		default:
			p.t.Fatalf("received %s", show(r))
		}
	}
}
