package centrifugal

import (
	"testing"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// TestSubscribedByProgram: a client that the program subscribes is told its data, and what it has missed since a position.
func TestSubscribedByProgram(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		o := open()
		o.JoinLeave = false
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: func(string) (hub.Options, error) { return o, nil }}})
		var first broker.Position
		for i, data := range []string{"1", "2", "3"} {
			if at := n.say("news", data); i == 0 {
				first = at
			}
		}
		p := n.client(f)
		to := hub.Target{Client: p.client}
		must(t, only(n.Hub().Subscribe(ctx, to, "news", hub.Join{Since: &first, Data: []byte(`{"a":1}`)})))
		r := p.next()
		if r.Push == nil || describe(r.Push) != "news: subscribe true 1" || r.Push.Subscribe.Epoch != first.Epoch || string(r.Push.Subscribe.Data) != `{"a":1}` {
			t.Errorf("received %s", show(r))
		}
		p.expect("news: 2 2", "news: 3 3")
		n.say("news", "4")
		p.expect("news: 4 4")

		first.Epoch = "another"
		must(t, only(n.Hub().Subscribe(ctx, to, "sport", hub.Join{Since: &first})))
		p.expect("sport: subscribe true 0")
		p.quiet()
	})
}
