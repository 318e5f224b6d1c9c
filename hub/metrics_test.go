package hub

import (
	"errors"
	"reflect"
	"slices"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/hub/broker"
)

// trips are how many calls of each operation were timed, of those that there were.
func (m *Metrics) trips() map[string]uint64 {
	all := map[string]uint64{}
	for _, t := range m.Trips {
		for _, n := range t.Latency.Counts {
			if n > 0 {
				all[t.Operation] += n
			}
		}
	}
	return all
}

func TestMetrics(t *testing.T) {
	n := start(t, Config{Channel: all(Options{History: 10, Presence: true, JoinLeave: true})})
	a, b, c := n.client("anna"), n.client("bob"), n.client("bob")
	a.join("room", Join{})
	b.join("room", Join{})
	c.join("lobby", Join{}) // KindJoin: 3 delivered, 1 + 2 + 1 sent
	one := n.say("room", "one")
	n.say("room", "two", b)
	must(t, n.PublishTo(ctx, everyone, Publication{Data: sample}))
	must(t, n.PublishUsers(ctx, []string{"bob"}, Publication{Data: sample})) // 4 published and delivered, 2 + 1 + 3 + 2 sent
	must(t, a.Leave(ctx, "room"))
	a.join("room", Join{Since: &one}) // 2 delivered, 1 + 2 sent
	must(t, b.Leave(ctx, "room"))
	b.join("room", Join{Since: &broker.Position{Offset: 9, Epoch: "another"}}) // 2 delivered, 1 + 2 sent
	got := n.Metrics()
	for _, trip := range got.Trips {
		if trip.Errors != 0 {
			t.Errorf("%s: %d errors", trip.Operation, trip.Errors)
		}
		if len(trip.Latency.Counts) != len(trip.Latency.Bounds)+1 || !slices.IsSorted(trip.Latency.Bounds) || trip.Operation == "publish" && trip.Latency.Sum <= 0 {
			t.Errorf("%+v", trip)
		}
	}
	// A join reads the history if the ring has not all, and each channel reads it when it begins.
	want := map[string]uint64{"publish": 9, "history_append": 2, "history_read": 3, "presence_enter": 5, "presence_leave": 2, "subscribe": 3}
	if trips := got.trips(); !reflect.DeepEqual(trips, want) {
		t.Errorf("calls of the broker: %v, want %v", trips, want)
	}
	got.Trips = nil
	if want := (Metrics{
		Channels: 2, Clients: 3, Users: 2, Subscriptions: 3, Present: 3,
		Joins: 5, Recovered: 1, Lacking: 1, CaughtUp: 1,
		Published: 4, Delivered: 11, Sent: 18,
		Work: []WorkMetrics{{Name: "orders"}, {Name: "ends"}, {Name: "reads"}},
	}); !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

// Each of the other operations is timed under its own name.
func TestMetricsOfEachOperation(t *testing.T) {
	n := start(t, Config{Channel: all(Options{History: 10, Presence: true})})
	a := n.client("anna")
	a.join("room", Join{})
	before := n.Metrics()
	_, err := n.Present(ctx, "room")
	must(t, err)
	_, err = n.Count(ctx, "room")
	must(t, err)
	must(t, n.RemoveHistory(ctx, "room"))
	must(t, only(n.Reach(ctx, everyone)))
	must(t, a.Leave(ctx, "room"))
	after := n.Metrics()
	trips, was := after.trips(), before.trips()
	for _, operation := range []string{"presence_list", "presence_count", "history_remove", "ask", "presence_leave", "unsubscribe"} {
		if trips[operation] != was[operation]+1 {
			t.Errorf("%s: %d calls, then %d", operation, was[operation], trips[operation])
		}
		delete(trips, operation)
		delete(was, operation)
	}
	if !reflect.DeepEqual(trips, was) {
		t.Errorf("others were counted, too: %v, then %v", was, trips)
	}
}

// unwell is a broker that tells how it is.
type unwell struct {
	plain
	err error
}

func (u *unwell) Health() error { return u.err }

// What goes wrong shows.
func TestMetricsOfTrouble(t *testing.T) {
	f := newFar(t)
	cfg := f.config(Options{History: 10})
	ill := &unwell{plain{f}, nil}
	cfg.Broker = ill
	n := start(t, cfg)
	a, b := n.client("anna"), n.client("bob")
	a.join("room", Join{})
	b.join("other", Join{})
	m := n.Metrics()
	if m.BrokerHealth != nil {
		t.Errorf("Health is %v", m.BrokerHealth)
	}
	ill.err = errors.New("no majority")
	if m = n.Metrics(); m.BrokerHealth == nil || m.BrokerHealth.Error() != "no majority" {
		t.Errorf("Health is %v", m.BrokerHealth)
	}

	// A gap that cannot be filled now, and one that cannot be filled at all.
	f.cut("Read")
	f.lossy.set(func(p broker.Publication) bool { return string(p.Data) == "lost" }, nil)
	n.say("room", "lost")
	n.say("room", "next")
	until(t, "a channel that waits", func() bool { m = n.Metrics(); return m.Stalled == 1 })
	if m.Lost != 0 || m.Cut != 0 || m.Trips[tripRead].Errors == 0 {
		t.Errorf("%+v", m)
	}
	f.lossy.set(nil, func(string) error { return broker.ErrUnrecoverable })
	f.set(nil)
	_ = wait(t, a.over, "the end of anna")
	until(t, "the channel to be read", func() bool { m = n.Metrics(); return m.Stalled == 0 && m.Lost == 1 && m.Cut == 1 })
	errs := m.Trips[tripRead].Errors // without what was unrecoverable
	until(t, "room and anna to be followed no more", func() bool {
		ended := uint64(0)
		for _, count := range n.Metrics().Trips[tripUnsubscribe].Latency.Counts {
			ended += count
		}
		return ended == 2
	})

	f.lossy.set(nil, nil)
	f.cut("Publish", "Unsubscribe")
	is(t, "Publish", n.PublishTo(ctx, everyone, Publication{}), broker.ErrUnavailable)
	must(t, b.Leave(ctx, "other"))
	if m = n.Metrics(); m.Owed != 1 || m.Trips[tripPublish].Errors != 1 || m.Trips[tripUnsubscribe].Errors != 1 || m.Trips[tripRead].Errors != errs || m.Published != 2 {
		t.Errorf("%+v", m)
	}
	f.heal()
}

// Orders that are carried out, and those that wait for a goroutine.
func TestMetricsOfOrders(t *testing.T) {
	began, end := make(chan struct{}, 2), make(chan struct{})
	n := start(t, Config{OnCommand: func(*Client, string, []byte) { began <- struct{}{}; <-end }})
	release := sync.OnceFunc(func() { close(end) })
	defer release() // or the hub would not end
	n.mu.Lock()
	n.orders.max = 1
	n.mu.Unlock()
	n.client("anna")
	n.client("bob")
	must(t, only(n.Command(ctx, everyone, "wait", nil)))
	wait(t, began, "the first order")
	if got := n.Metrics().Work[0]; got != (WorkMetrics{"orders", 1, 1}) {
		t.Errorf("%+v", got)
	}
	release()
	wait(t, began, "the second order")
	until(t, "the orders to be over", func() bool { return n.Metrics().Work[0] == WorkMetrics{Name: "orders"} })
}

// The cost does not grow with the clients: nothing is made for each of them.
func TestMetricsWalkOverNobody(t *testing.T) {
	n := start(t, Config{})
	few := testing.AllocsPerRun(10, func() { n.Metrics() })
	n.mu.Lock()
	for i := range 100_000 {
		n.channels[string(rune(i))] = nil // whoever looks at one fails
	}
	n.mu.Unlock()
	many := testing.AllocsPerRun(10, func() { n.Metrics() })
	n.mu.Lock()
	clear(n.channels)
	n.mu.Unlock()
	if many != few {
		t.Errorf("%v allocations with no channels, %v with many", few, many)
	}
}
