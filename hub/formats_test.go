package hub

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// recorder is an Encode that notes what it is called for.
type recorder struct {
	mu  sync.Mutex
	all []string
}

func (r *recorder) encode(format int, channel string, p *broker.Publication) engine.Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, fmt.Sprint(format, " ", string(p.Data)))
	return text(format, channel, p)
}

// take returns what was noted.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.all
	r.all = nil
	slices.Sort(all)
	return all
}

// Each client gets its format, which is made once, and only if somebody gets it: in channels with and without a
// history, to users and to all, with all that can be left out.
func TestFormats(t *testing.T) {
	var r recorder
	n := start(t, Config{Formats: 3, Encode: r.encode, Channel: func(name string) (Options, error) {
		return Options{History: len(strings.TrimPrefix(name, "plain"))}, nil
	}})
	var clients []*peerConn
	for i := range 5 {
		clients = append(clients, n.connect(Connect{User: "anna", Format: i % 2})) // three of format 0, two of format 1
		clients[i].join("plain", Join{})
		clients[i].join("kept", Join{})
	}
	clients = append(clients, n.connect(Connect{User: "bob", Format: 2})) // is in no channel
	for but := range 1 << 5 {
		p := Publication{Data: fmt.Append(nil, but)}
		for i, c := range clients {
			if but&(1<<i) != 0 {
				p.Except = append(p.Except, c.ID(), "unknown", c.ID())
			}
		}
		for _, x := range []struct {
			channel string
			to      int // the first so many clients
			publish func() error
		}{
			{"plain", 5, func() error { _, err := n.Publish(ctx, "plain", p); return err }},
			{"kept", 5, func() error { _, err := n.Publish(ctx, "kept", p); return err }},
			{"", 5, func() error { return n.PublishUsers(ctx, []string{"anna", "nobody", "anna"}, p) }},
			{"", 6, func() error { return n.PublishTo(ctx, everyone, p) }},
		} {
			must(t, x.publish())
			var encoded []string
			for i, c := range clients[:x.to] {
				if but&(1<<i) == 0 {
					c.expect(inFormat(c.Format(), x.channel, but+1, fmt.Sprint(but)))
					encoded = append(encoded, fmt.Sprint(c.Format(), " ", but))
				}
			}
			slices.Sort(encoded)
			if got := r.take(); !slices.Equal(got, slices.Compact(encoded)) {
				t.Fatalf("%q without %b: encoded %v, want %v", x.channel, but, got, encoded)
			}
		}
	}
	for _, c := range clients {
		c.nothing()
	}
	_, c := n.dial()
	for _, f := range []int{-1, 3} {
		if _, err := n.Connect(ctx, c, Connect{Format: f}); err == nil || !strings.Contains(err.Error(), "from 0 to 2") {
			t.Errorf("format %d: %v", f, err)
		}
	}
}

// inFormat is what text makes of a publication.
func inFormat(format int, channel string, offset int, data string) string {
	if channel == "kept" {
		data = fmt.Sprint(offset, " ", data)
	}
	if format > 0 {
		channel = fmt.Sprint(format, "|", channel)
	}
	return channel + ": " + data
}

// What is recovered comes in the client's format, is encoded once for it, and what Except names stays away: from the node and
// from the history.
func TestFormatsAndExceptAndRecovery(t *testing.T) {
	var r recorder
	n := start(t, Config{Formats: 2, Encode: r.encode, RingMax: 4, Channel: kept})
	zero, one := n.client("zero"), n.connect(Connect{User: "one", Format: 1})
	stays := n.connect(Connect{User: "stays", Format: 1})
	begin := stays.join("kept", Join{}).Position
	for i := range 6 {
		var but []*peerConn
		switch i {
		case 1:
			but = []*peerConn{zero}
		case 2:
			but = []*peerConn{one, stays}
		case 4:
			but = []*peerConn{zero, one}
		}
		n.say("kept", fmt.Sprint(i), but...)
	}
	if got := strings.Join(r.take(), ","); got != "1 0,1 1,1 3,1 4,1 5" {
		t.Errorf("encoded %s", got)
	}
	last := func(offset uint64) *broker.Position { return &broker.Position{Offset: offset, Epoch: begin.Epoch} }
	if j := zero.join("kept", Join{Since: last(2)}); !j.Recovered || len(j.Missed) != 3 || j.Missed[0].Offset != 3 {
		t.Errorf("joined %+v", j)
	}
	zero.expect("kept: 3 2", "kept: 4 3", "kept: 6 5")
	if j := one.join("kept", Join{Since: last(2)}); !j.Recovered || len(j.Missed) != 2 {
		t.Errorf("joined %+v", j)
	}
	one.expect("1|kept: 4 3", "1|kept: 6 5")
	if got := strings.Join(r.take(), ","); got != "0 2,0 3,0 5" { // of format 1 all is there
		t.Errorf("encoded %s", got)
	}
	must(t, zero.Leave(ctx, "kept"))
	if j := zero.join("kept", Join{Since: &begin}); !j.Recovered || len(j.Missed) != 4 {
		t.Errorf("joined %+v", j)
	}
	zero.expect("kept: 1 0", "kept: 3 2", "kept: 4 3", "kept: 6 5")
	stays.expect("1|kept: 1 0", "1|kept: 2 1", "1|kept: 4 3", "1|kept: 5 4", "1|kept: 6 5")
	for _, c := range []*peerConn{zero, one, stays} {
		c.nothing()
	}
	if page, err := n.History(ctx, "kept", broker.Query{Limit: broker.NoLimit}); err != nil || len(page.Publications) != 6 || !slices.Equal(page.Publications[1].Except, []string{zero.ID()}) {
		t.Errorf("history %+v %v", page, err)
	}
}
