package hub

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// subscribers counts those of all topics that hubs have ever had.
func (n *node) subscribers() (all int) {
	for i := range lastTopic.Load() {
		all += n.e.Subscribers(topicName(i + 1))
	}
	return all
}

// Joins and leaves leave nothing behind: no goroutine, topic, channel or heap. The channels are new ones and others in which somebody
// stays, with and without a history; some joins fail.
func TestJoinsAndLeaves(t *testing.T) {
	const people = 4
	each := 25_000
	if testing.Short() {
		each = 2500
	}
	n := start(t, Config{
		Formats: 2,
		Channel: func(name string) (Options, error) {
			o := Options{Presence: strings.HasPrefix(name, "kept")}
			if o.Presence {
				o.History = 3
			}
			return o, nil
		},
	})
	stays := n.client("stays")
	stays.join("kept 0", Join{})
	var clients []*peerConn
	for i := range people {
		clients = append(clients, n.connect(Connect{User: "anna", Format: i % 2}))
	}
	round := func(rounds int) {
		var all sync.WaitGroup
		for i, c := range clients {
			all.Go(func() {
				for k := range rounds {
					name := fmt.Sprint("kept ", k%3)
					if k%2 == 0 {
						name = fmt.Sprint("new ", i, " ", k)
					}
					if k%10 == 9 {
						if _, err := c.Join(ctx, name, Join{Begin: func(Joined) error { return errHook }}); err == nil {
							t.Error("joined")
						}
						continue
					}
					c.join(name, Join{Since: &broker.Position{}})
					if k%50 == 7 {
						n.say(name, "x", clients...)
					}
					must(t, c.Leave(ctx, name))
					if k%250 == 0 {
						c.nothing() // its loop has done it all
					}
				}
			})
		}
		all.Wait()
		until(t, "the end of all subscriptions", func() bool { return n.subscribers() == people+2 }) // all are in everybody
	}
	round(1000) // so that what is kept for ever is there
	for len(stays.got) > 0 {
		<-stays.got
	}
	before, goroutines := heap(), runtime.NumGoroutine()
	round(each)
	for len(stays.got) > 0 {
		<-stays.got
	}
	until(t, "no more goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if got := n.Channels(); len(got) != 1 || got["kept 0"] != 1 {
		t.Errorf("left: %v", got)
	}
	for _, c := range clients {
		if len(c.Channels()) > 0 {
			t.Errorf("still in %v", c.Channels())
		}
	}
	for i, want := range []int{1, 0, 0} {
		if got, err := n.Count(ctx, fmt.Sprint("kept ", i)); err != nil || got.Clients != want {
			t.Errorf("present: %+v %v", got, err)
		}
	}
}

// Connections that come and go leave nothing behind.
func TestConnectsLeaveNothing(t *testing.T) {
	const rounds = 20
	n := start(t, Config{Formats: 2, Channel: all(Options{Presence: true, History: 1})})
	round := func(rounds int) {
		for i := range rounds {
			var all []*peerConn
			for k := range 25 {
				all = append(all, n.connect(Connect{User: fmt.Sprint("user ", (i*25+k)/3), Format: k % 2, Channels: []string{"room"}}))
				must(t, only(n.Command(ctx, Target{Client: all[k].ID()}, "x", nil)))
			}
			for _, p := range all {
				must(t, (<-p.far).Abort())
			}
		}
		until(t, "the end of all", func() bool { return len(n.Clients()) == 0 && len(n.Channels()) == 0 })
		until(t, "nothing to be left", func() bool {
			n.all.mu.Lock()
			defer n.all.mu.Unlock()
			n.mu.Lock()
			defer n.mu.Unlock()
			return len(n.users) == 0 && len(n.all.opening) == 0 && n.all.seated[0]+n.all.seated[1] == 0 && n.orders.workers+n.ends.workers == 0
		})
		if left := n.subscribers(); left > 0 {
			t.Errorf("%d are subscribed", left)
		}
	}
	round(rounds / 4)
	before, goroutines := heap(), runtime.NumGoroutine()
	round(rounds)
	until(t, "no more goroutines", func() bool { return runtime.NumGoroutine() <= goroutines })
	if grown := heap() - before; grown > 1<<20 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
}

// What the hub keeps for a connection that is in one channel.
func TestHeapOfClient(t *testing.T) {
	const clients = 300
	n := start(t, Config{Formats: 2, Channel: all(Options{History: 10})})
	first := n.client("first") // brings what all share
	for i := range 10 {
		first.join(fmt.Sprint("room ", i), Join{})
	}
	peers, conns := make([]*peerConn, clients), make([]*engine.Conn, clients)
	for i := range peers {
		peers[i], conns[i] = n.dial()
		_ = conns[i].Context() // as if Conn.Go had been used
	}
	before := heap()
	for i, p := range peers {
		var err error
		p.Client, err = n.Connect(ctx, conns[i], Connect{User: fmt.Sprint("user ", i), Format: i % 2})
		must(t, err)
		p.join(fmt.Sprint("room ", i%10), Join{})
	}
	each := (heap() - before) / clients
	t.Logf("%d bytes for each", each)
	if each > 700 {
		t.Errorf("%d bytes for each", each)
	}
	runtime.KeepAlive(peers)
}

// What the hub, the memory broker and the engine keep for a channel with one member, beside the connection.
func TestHeapOfChannel(t *testing.T) {
	const clients, channels = 50, 100
	for _, c := range []struct {
		name  string
		o     Options
		limit int
	}{
		{"plain", Options{}, 800},
		{"with a history", Options{History: 10}, 800},
		{"with joins and leaves", Options{JoinLeave: true}, 1100},
	} {
		n := start(t, Config{Formats: 2, Channel: all(c.o)})
		var peers []*peerConn
		for i := range clients {
			peers = append(peers, n.connect(Connect{User: fmt.Sprint("user ", i), Format: i % 2}))
			peers[i].join("first", Join{})
		}
		before := heap()
		for i, p := range peers {
			for k := range channels {
				p.join(fmt.Sprintf("channel:%d:%d", i, k), Join{})
			}
			for k := 0; c.o.JoinLeave && k < channels; { // what is on its way has memory too
				if strings.Contains(wait(t, p.got, "its own joins"), "channel:") {
					k++
				}
			}
		}
		each := (heap() - before) / (clients * channels)
		t.Logf("%s: %d bytes for each", c.name, each)
		if each > c.limit {
			t.Errorf("%s: %d bytes for each", c.name, each)
		}
		runtime.KeepAlive(peers)
		n.stop()
	}
}
