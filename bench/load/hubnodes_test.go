//go:build linux

package main

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	centrifugal "github.com/centrifugal/protocol"
)

var nodeModes = []string{"hub", "hub-rate", "hub-apart", "hub-channels", "hub-join", "hub-presence"}

// nodesLoad is a run on three nodes.
func nodesLoad(addr, mode string, s *hubServer) options {
	o := shortHub(addr, mode, s)
	switch mode {
	case "hub-channels":
		o.conns, o.topics = 4, 30 // a publisher, and 3 clients with 10 channels each
	case "hub-rate", "hub-apart":
		o.inFlight, o.rate = 1000, 4_000 // whatever else the machine does
	case "hub-join":
		o.topics = 10
	}
	return o
}

// An honest hub of three nodes passes, with offsets that have holes.
func TestHonestNodes(t *testing.T) {
	for _, mode := range nodeModes {
		for _, history := range []bool{false, true} {
			t.Run(mode, func(t *testing.T) {
				t.Parallel()
				var subscribed atomic.Int32
				s := &hubServer{history: history, sparse: true, nodes: 3, change: func(_ int, kind string, _ *centrifugal.Reply) bool {
					if kind == "subscribe" {
						subscribed.Add(1)
					}
					return true
				}}
				r, err := generate(nodesLoad(s.start(t), mode, s))
				if err != nil {
					t.Fatal(err)
				}
				if r.Messages == 0 || r.WindowNs <= 0 || r.ServerCPUNs <= 0 || r.Compared != r.Counted || r.Latency.Samples == 0 {
					t.Errorf("%+v", r)
				}
				switch mode {
				case "hub-rate": // members of a channel are at three nodes; two of them are not the publisher's
					if r.Published == 0 || r.Published*3 > r.Messages || r.Published*3+3 <= r.Messages {
						t.Errorf("%d published, %d delivered to three each", r.Published, r.Messages)
					}
				case "hub-apart": // two of the three clients of each of two channels follow it, both at other nodes
					if n := subscribed.Load(); n != 4 {
						t.Errorf("%d of 6 clients have subscribed, want those that do not publish", n)
					}
				case "hub-channels":
					if r.Messages != 30 || r.Counted != 30 || r.RSSOpen == 0 || r.RSSAfter == 0 {
						t.Errorf("%+v: want 30 channels, and a publication to each", r)
					}
				}
			})
		}
	}
}

// The members of a channel are spread over the nodes, and so are the publishers.
func TestSpread(t *testing.T) {
	s := &hubServer{}
	o := shortHub("127.0.0.1:1,127.0.0.1:2,127.0.0.1:3", "hub", s)
	o.conns, o.topics = 12, 4
	l, err := newLoad(o)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	h, err := newHub(l)
	if err != nil {
		t.Fatal(err)
	}
	var at [4][]uint8
	for i := range l.conns {
		at[l.conns[i].group] = append(at[l.conns[i].group], l.conns[i].node)
	}
	for group, nodes := range at {
		publisher := nodes[0]
		if slices.Sort(nodes); !slices.Equal(nodes, []uint8{0, 1, 2}) || publisher != uint8(group%3) {
			t.Errorf("channel %d: members at %v, the publisher at %d", group, nodes, publisher)
		}
		for i := group; i < len(l.conns); i += 4 {
			if want := l.conns[i].node != publisher; h.elsewhere(&l.conns[i], &h.groups[group]) != want {
				t.Errorf("channel %d, member at %d: its latency is taken: %v", group, l.conns[i].node, !want)
			}
		}
	}
}

// Each of these lies, and is caught.
func TestLyingNodes(t *testing.T) {
	at := func(n int, kind string, change func(r *centrifugal.Reply)) func(int, string, *centrifugal.Reply) bool {
		return func(i int, k string, r *centrifugal.Reply) bool {
			if i == n && k == kind {
				change(r)
			}
			return true
		}
	}
	without := func(n int, kind string) func(int, string, *centrifugal.Reply) bool {
		return func(i int, k string, _ *centrifugal.Reply) bool { return i != n || k != kind }
	}
	for _, c := range []struct {
		name, mode string
		change     func(n int, kind string, r *centrifugal.Reply) bool
		want       string
	}{
		{"an offset that falls", "hub", at(90, "publication", func(r *centrifugal.Reply) { r.Push.Pub.Offset = 3 }), "offset 3"},
		{"an offset that one of them is not told", "hub", at(91, "publication", func(r *centrifugal.Reply) { r.Push.Pub.Offset++ }), "offset"},
		{"one is missing", "hub-rate", without(200, "publication"), ""},
		{"one never comes", "hub-rate", func(_ int, kind string, r *centrifugal.Reply) bool {
			return kind != "publication" || r.Push.Pub.Offset < 300
		}, "on their way"},
		{"a channel is not subscribed to", "hub-channels", without(7, "subscribe"), "channels have no subscriber"},
		{"without a history", "hub-channels", at(7, "subscribe", func(r *centrifugal.Reply) { r.Subscribe.Recoverable = false }), "want an answer"},
		{"the publication of another", "hub-channels", at(7, "publication", func(r *centrifugal.Reply) { r.Push.Channel = "c000029" }), "does not follow"},
		{"a name of nobody", "hub-channels", at(7, "publication", func(r *centrifugal.Reply) { r.Push.Channel = "" }), "does not follow"},
		{"a publication twice", "hub-channels", at(8, "publication", func(r *centrifugal.Reply) {
			r.Push.Channel, r.Push.Pub.Data = "c000007", corpus(200)[7%variants]
		}), "it came before: true"},
		{"other data", "hub-channels", at(8, "publication", func(r *centrifugal.Reply) { r.Push.Pub.Data = corpus(200)[3] }), "want the publication"},
		{"a publication is missing", "hub-channels", without(8, "publication"), "1 publications or answers"},
		{"an answer is missing", "hub-channels", without(8, "publish"), "1 publications or answers"},
		{"join is refused", "hub-join", at(30, "subscribe", func(r *centrifugal.Reply) {
			r.Subscribe, r.Error = nil, &centrifugal.Error{Code: 103}
		}), "error 103"},
		{"join without an epoch", "hub-join", at(30, "subscribe", func(r *centrifugal.Reply) { r.Subscribe.Epoch = "" }), "a history is wanted"},
		{"leave is answered as a join", "hub-join", at(30, "unsubscribe", func(r *centrifugal.Reply) {
			r.Unsubscribe, r.Subscribe = nil, &centrifugal.SubscribeResult{}
		}), "nobody asked"},
		{"leave is not answered", "hub-join", func(n int, kind string, _ *centrifugal.Reply) bool { return kind != "unsubscribe" || n < 30 }, missing},
		{"one is not present", "hub-presence", at(30, "presence", func(r *centrifugal.Reply) {
			for id := range r.Presence.Presence {
				delete(r.Presence.Presence, id)
				return
			}
		}), "want the 3 members"},
		{"another is present", "hub-presence", at(30, "presence", func(r *centrifugal.Reply) {
			for id := range r.Presence.Presence {
				delete(r.Presence.Presence, id)
				r.Presence.Presence["x"] = &centrifugal.ClientInfo{Client: "x"}
				return
			}
		}), "it says <nil>"},
		{"as another user", "hub-presence", at(30, "presence", func(r *centrifugal.Reply) {
			for _, who := range r.Presence.Presence {
				who.User = "x"
			}
		}), "it says"},
	} {
		t.Run(c.mode+", "+c.name, func(t *testing.T) {
			t.Parallel()
			s := &hubServer{history: true, sparse: true, nodes: 3, change: c.change}
			o := nodesLoad(s.start(t), c.mode, s)
			o.quiet = 10 * time.Second
			if strings.Contains(c.name, "missing") || strings.Contains(c.name, " not ") || strings.Contains(c.name, "never") {
				o.stall = time.Second
			}
			if strings.Contains(c.name, "never") {
				o.inFlight = 50
			}
			r, err := generate(o)
			if err == nil {
				t.Fatalf("believed: %+v", r)
			}
			if c.want != missing && !strings.Contains(err.Error(), c.want) {
				t.Errorf("%v: want %q in it", err, c.want)
			}
		})
	}
}
