package hub

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// Who comes back to a channel with Options.Latest gets the newest publication only, and that is what Recovered says.
func TestLatest(t *testing.T) {
	var passed atomic.Int64
	began := time.Now()
	m, err := memory.New(memory.Config{ChannelsMax: 2, Clock: func() time.Time { return began.Add(time.Duration(passed.Load())) }})
	must(t, err)
	b := newLossyOf(m)
	cfg := b.config()
	cfg.RecoverMax = 3
	cfg.Channel = all(Options{History: 5, Lifetime: time.Minute, Latest: true})
	for _, ring := range []bool{false, true} { // whether the node has the newest already
		t.Run(fmt.Sprint("ring ", ring), func(t *testing.T) {
			n := start(t, cfg)
			a, stays := n.client("anna"), n.client("stays")
			channel := fmt.Sprint("room", ring)
			if ring {
				stays.join(channel, Join{})
			}
			back := func(what string, since broker.Position, recovered bool, want ...string) {
				t.Helper()
				j := a.join(channel, Join{Since: &since})
				page, err := n.History(ctx, channel, broker.Query{})
				must(t, err)
				if j.Recovered != recovered || len(j.Missed) != len(want) || j.Position != page.Top || !j.Options.Latest {
					t.Errorf("%s: joined %+v, top %v", what, j, page.Top)
				}
				a.expect(want...)
				a.nothing()
				must(t, a.Leave(ctx, channel))
			}
			page, err := n.History(ctx, channel, broker.Query{})
			must(t, err)
			begin := page.Top
			back("nothing was ever published", begin, true)
			back("nothing was ever published, another epoch", broker.Position{Epoch: "e"}, false)
			var at []broker.Position
			for i := range 5 {
				at = append(at, n.say(channel, fmt.Sprint(i)))
			}
			last := at[4]
			back("at the top", last, true)
			back("one behind", at[3], true, channel+": 5 4")
			back("more than RecoverMax behind", begin, true, channel+": 5 4")
			back("no position", broker.Position{}, true, channel+": 5 4")
			back("another epoch", broker.Position{Offset: 5, Epoch: "e"}, true, channel+": 5 4")
			back("the future", broker.Position{Offset: 9, Epoch: last.Epoch}, true, channel+": 5 4")
			n.say(channel, "hidden", a)
			back("the newest is not for it", at[3], true, channel+": 5 4")
			back("nor is there another", last, true)
			back("it cannot be told which was the last for it", broker.Position{}, false)
			n.say(channel, "seven")
			back("the newest is for it again", at[0], true, channel+": 7 seven")

			// A member gets what follows as always.
			if j := a.join(channel, Join{Since: &at[0]}); !j.Recovered {
				t.Errorf("joined %+v", j)
			}
			n.say(channel, "eight")
			a.expect(channel+": 7 seven", channel+": 8 eight")
			must(t, a.Leave(ctx, channel))

			if !ring {
				passed.Add(int64(time.Minute))
				back("it has expired", at[0], false)
				back("it has expired, and was got", broker.Position{Offset: 8, Epoch: last.Epoch}, true)
				n.say(channel, "nine")
				back("a new one", at[0], true, channel+": 9 nine")
				for i := range 2 { // the history of the channel is forgotten, with its epoch
					n.say(fmt.Sprint("other", i), "x")
				}
				back("another epoch, and nothing in it", at[0], false)
				n.say(channel, "new")
				back("another epoch", at[0], true, channel+": 1 new")
			}
			if ring {
				for i := range 8 {
					if got, want := wait(t, stays.got, "all"), fmt.Sprint(channel, ": ", i+1, " "); !strings.HasPrefix(got, want) {
						t.Errorf("who stays has got %q, want %q", got, want)
					}
				}
			}
		})
	}
}

// A node that is behind reads before it says what the newest is.
func TestLatestBehind(t *testing.T) {
	b := newLossy(t)
	cfg := b.config()
	cfg.Channel = all(Options{History: 5, Latest: true})
	n := start(t, cfg)
	stays, a := n.client("stays"), n.client("anna")
	n.say("room", "one")
	stays.join("room", Join{})
	b.set(func(broker.Publication) bool { return true }, nil)
	n.say("room", "two")
	three := n.say("room", "three")
	if j := a.join("room", Join{Since: &broker.Position{}}); !j.Recovered || len(j.Missed) != 1 || j.Position != three {
		t.Errorf("joined %+v", j)
	}
	b.set(nil, nil)
	n.say("room", "four")
	a.expect("room: 3 three", "room: 4 four")
	stays.expect("room: 2 two", "room: 3 three", "room: 4 four")

	// What it reads is the newest, also if more comes before the node has read.
	must(t, stays.Leave(ctx, "room"))
	must(t, a.Leave(ctx, "room"))
	a.join("room", Join{})
	once := true
	b.set(nil, func(string) error {
		if once {
			once = false
			n.say("room", "five")
		}
		return nil
	})
	if j := stays.join("room", Join{Since: &three}); !j.Recovered || len(j.Missed) != 1 || j.Position.Offset != 5 {
		t.Errorf("joined %+v", j)
	}
	b.set(nil, nil)
	n.say("room", "six")
	stays.expect("room: 5 five", "room: 6 six")
	a.expect("room: 5 five", "room: 6 six")
}

// Of a channel of which nothing is kept, Top may rise with each read: nobody waits until this node is there.
func TestNewestOfNothing(t *testing.T) {
	s := stream{tracks: true, known: true, last: broker.Position{Offset: 5, Epoch: "e"}}
	since := broker.Position{Offset: 3, Epoch: "e"}
	for _, c := range []struct {
		page *broker.Page
		want verdict
	}{
		{nil, read},
		{&broker.Page{Top: broker.Position{Offset: 9, Epoch: "e"}}, enter},
		{&broker.Page{Top: broker.Position{Offset: 9, Epoch: "f"}}, behind},
		{&broker.Page{Top: broker.Position{Offset: 9, Epoch: "e"}, Publications: []broker.Publication{{Position: broker.Position{Offset: 9, Epoch: "e"}}}}, behind},
	} {
		if missed, proven, v := s.newest(since, c.page); v != c.want || proven || missed != nil {
			t.Errorf("%+v: %v %v %v", c.page, missed, proven, v)
		}
	}
}
