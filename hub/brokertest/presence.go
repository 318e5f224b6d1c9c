package brokertest

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

var presenceTests = []test{
	{"Presence", testPresence},
	{"PresenceLifetime", testPresenceLifetime},
	{"PresenceLifetimes", testPresenceLifetimes},
	{"PresenceNames", testPresenceNames},
	{"PresenceTogether", testPresenceTogether},
}

func info(client, user string) broker.Info {
	return broker.Info{Client: client, User: user, Conn: []byte("conn of " + client), Channel: []byte("\x00\xff")}
}

func (s *suite) enter(n Node, channel string, i broker.Info, lifetime time.Duration) {
	s.Helper()
	s.must(n.Enter(ctx, channel, i, lifetime))
}

// present fails the test unless all nodes see these infos in the channel.
func (s *suite) present(channel string, users int, infos ...broker.Info) {
	s.Helper()
	for _, n := range s.Nodes {
		got, err := n.Present(ctx, channel)
		s.must(err)
		sort.Slice(got, func(i, j int) bool { return got[i].Client < got[j].Client })
		if !slices.EqualFunc(got, infos, func(x, y broker.Info) bool {
			return x.Client == y.Client && x.User == y.User && string(x.Conn) == string(y.Conn) && string(x.Channel) == string(y.Channel)
		}) {
			s.Errorf("present in %q: %+v, want %+v", channel, got, infos)
		}
		counts, err := n.Count(ctx, channel)
		s.must(err)
		want(s, "the counts of "+channel, counts, broker.Counts{Clients: len(infos), Users: users})
	}
}

func testPresence(s *suite) {
	life := 1000 * s.Lifetime
	s.present("room", 0)
	s.enter(s.a, "room", info("1", "ann"), life)
	s.enter(s.b, "room", info("2", "ann"), life)
	s.enter(s.b, "room", info("3", ""), life)
	s.enter(s.a, "room", info("4", ""), life)
	s.enter(s.a, "room2", info("1", "ann"), life)
	s.present("room", 2, info("1", "ann"), info("2", "ann"), info("3", ""), info("4", "")) // users on two nodes count once
	s.enter(s.b, "room", info("2", "bob"), life)                                           // is somebody else now
	s.must(s.a.Leave(ctx, "room", "4"))
	s.must(s.a.Leave(ctx, "room", "4"))
	s.must(s.a.Leave(ctx, "nowhere", "1"))
	s.present("room", 3, info("1", "ann"), info("2", "bob"), info("3", ""))
	s.must(s.a.Leave(ctx, "room", "1"))
	s.must(s.b.Leave(ctx, "room", "2"))
	s.must(s.b.Leave(ctx, "room", "3"))
	s.present("room", 0)
	s.present("room2", 1, info("1", "ann"))
}

// testPresenceLifetime: who does not enter again in time is gone.
func testPresenceLifetime(s *suite) {
	long := 1000 * s.Lifetime
	s.enter(s.a, "room", info("1", "ann"), s.Lifetime)
	s.enter(s.b, "room", info("2", "bob"), s.Lifetime)
	s.enter(s.b, "room", info("2", "bob"), long) // renewed
	s.enter(s.b, "room", info("3", "eve"), long)
	s.enter(s.b, "room", info("3", "eve"), s.Lifetime) // a shorter lifetime
	s.enter(s.b, "empty", info("1", "ann"), s.Lifetime)
	s.present("room", 3, info("1", "ann"), info("2", "bob"), info("3", "eve"))
	s.Pass(s.Lifetime)
	s.present("room", 1, info("2", "bob"))
	s.present("empty", 0)
	s.must(s.a.Leave(ctx, "room", "1"))
	s.enter(s.a, "room", info("1", "again"), long)
	s.present("room", 2, info("1", "again"), info("2", "bob"))
}

// testPresenceLifetimes: of many, each has its own.
func testPresenceLifetimes(s *suite) {
	s.enter(s.a, "room", info("long", "ann"), 1000*s.Lifetime)
	for i := range 20 {
		s.enter(s.a, "room", info(fmt.Sprint("two ", i), fmt.Sprint(i)), 2*s.Lifetime)
		s.enter(s.b, "room", info(fmt.Sprint("one ", i), "bob"), s.Lifetime)
	}
	for _, left := range []broker.Counts{{Clients: 41, Users: 22}, {Clients: 21, Users: 21}, {Clients: 1, Users: 1}} {
		n, err := s.a.Count(ctx, "room")
		s.must(err)
		want(s, "who is left", n, left)
		s.Pass(s.Lifetime)
	}
	s.present("room", 1, info("long", "ann"))
}

func testPresenceNames(s *suite) {
	for i, name := range odd {
		s.enter(s.a, name, info(fmt.Sprint("of ", i), "u"), 1000*s.Lifetime)
		s.enter(s.a, "clients", info(name, name), 1000*s.Lifetime)
	}
	for i, name := range odd {
		s.present(name, 1, info(fmt.Sprint("of ", i), "u"))
	}
	n, err := s.b.Count(ctx, "clients")
	s.must(err)
	want(s, "clients with such names", n, broker.Counts{Clients: len(odd), Users: len(odd)})
}

// testPresenceTogether: many enter and leave at once.
func testPresenceTogether(s *suite) {
	var fs []func()
	for i := range 8 {
		fs = append(fs, func() {
			n := s.Nodes[i%2]
			for j := range 50 {
				client := fmt.Sprint(i, "-", j)
				if err := n.Enter(ctx, "room", info(client, fmt.Sprint(i)), 1000*s.Lifetime); err != nil {
					s.Error(err)
				}
				if _, err := n.Present(ctx, "room"); err != nil {
					s.Error(err)
				}
				if j%2 == 0 {
					if err := n.Leave(ctx, "room", client); err != nil {
						s.Error(err)
					}
				}
			}
		})
	}
	together(fs...)
	n, err := s.a.Count(ctx, "room")
	s.must(err)
	want(s, "the counts", n, broker.Counts{Clients: 8 * 25, Users: 8})
}
