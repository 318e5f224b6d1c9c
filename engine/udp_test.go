package engine

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echoPacket answers with what it got.
func echoPacket(t *testing.T) func(p Packet, data []byte) {
	return func(p Packet, data []byte) {
		if err := p.Reply(data); err != nil {
			t.Errorf("Reply of %d bytes to %s: %v", len(data), p.RemoteAddr(), err)
		}
	}
}

// packetPeer sends packets to one address and receives from there.
type packetPeer struct {
	*net.UDPConn
	t   *testing.T
	buf [1 << 16]byte
}

func dialPackets(t *testing.T, network, addr string) *packetPeer {
	t.Helper()
	c, err := net.Dial(network, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return &packetPeer{UDPConn: c.(*net.UDPConn), t: t}
}

// peerOf is a peer of a listener, from this machine.
func peerOf(t *testing.T, l *Listener) *packetPeer {
	t.Helper()
	return dialPackets(t, "udp", l.Addr().String())
}

func (p *packetPeer) send(data string) {
	p.t.Helper()
	if _, err := p.Write([]byte(data)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *packetPeer) receive() string {
	p.t.Helper()
	n, err := p.Read(p.buf[:])
	if err != nil {
		p.t.Fatal(err)
	}
	return string(p.buf[:n])
}

func (p *packetPeer) ask(data string) string {
	p.t.Helper()
	p.send(data)
	return p.receive()
}

func (p *packetPeer) addr() netip.AddrPort { return p.LocalAddr().(*net.UDPAddr).AddrPort() }

// counted checks the numbers of a listener. What is sent is counted when it is on its
// way already.
func counted(t *testing.T, l *Listener, want ListenerStats) {
	t.Helper()
	for give := time.Now().Add(patience); l.Stats() != want; runtime.Gosched() {
		if time.Now().After(give) {
			t.Fatalf("%+v, want %+v", l.Stats(), want)
		}
	}
}

// sixWorks skips what needs IPv6 where there is none.
func sixWorks(t *testing.T) {
	c, err := net.ListenPacket("udp", "[::1]:0")
	if err != nil {
		t.Skip("no IPv6 on this machine:", err)
	}
	_ = c.Close()
}

// TestPacketEcho: packets of every length come whole, in order, and with their
// sender, over IPv4 and IPv6; all are counted.
func TestPacketEcho(t *testing.T) {
	for _, x := range []struct{ listen, host string }{
		{"127.0.0.1", "127.0.0.1"}, {"[::1]", "::1"}, {"", "127.0.0.1"}, {"", "::1"},
	} {
		longest := 65507
		if x.host == "::1" {
			longest = 65527
		}
		t.Run(x.listen+" from "+x.host, func(t *testing.T) {
			if x.host == "::1" {
				sixWorks(t)
			}
			loops(t, func(t *testing.T, n int) {
				seen := make(chan Packet, 1)
				s := serve(t, Config{Addr: "udp://" + x.listen + ":0", Loops: n}, Handler{OnPacket: func(p Packet, data []byte) {
					if !p.Loop().On() {
						t.Error("not on its loop")
					}
					seen <- p
					echoPacket(t)(p, data)
				}})
				l := s.Listeners()[0]
				port := l.Addr().(*net.UDPAddr).AddrPort().Port()
				peer := dialPackets(t, "udp", netip.AddrPortFrom(netip.MustParseAddr(x.host), port).String())
				sum := 0
				sizes := []int{0, 1, 1200, 1500, longest, 0, 7}
				for _, size := range sizes {
					data := strings.Repeat(string(rune('a'+size%26)), size)
					if got := peer.ask(data); got != data {
						t.Errorf("%d bytes came back for %d", len(got), size)
					}
					if p := <-seen; p.RemoteAddr() != peer.addr() || p.Listener() != l {
						t.Errorf("from %s to %s, but the peer is %s", p.RemoteAddr(), p.Listener(), peer.addr())
					}
					sum += size
				}
				counted(t, l, ListenerStats{Packets: uint64(len(sizes)), PacketsSent: uint64(len(sizes))})
				s.await("the counters", func() bool {
					st := s.Stats()
					return st.MessagesIn == uint64(len(sizes)) && st.BytesIn == uint64(sum)
				})
				if st := s.Stats(); st.MessagesSent != 0 || st.Connections != 0 || !strings.HasPrefix(l.String(), "udp://") || s.Addr() != l.Addr() {
					t.Errorf("%+v %s", st, l)
				}
			})
		})
	}
}

// TestPacketAffinity: each peer always comes to the same loop, and the peers to
// all loops where the kernel spreads them.
func TestPacketAffinity(t *testing.T) {
	const peers, rounds = 50, 20
	of := make(chan *Loop, 1)
	s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 2}, Handler{OnPacket: func(p Packet, data []byte) {
		if !p.Loop().On() || p.Loop() != s0(p).Loops()[p.Loop().Index()] {
			t.Error("not on its loop")
		}
		of <- p.Loop()
		_ = p.Reply(data)
	}})
	var all []*packetPeer
	for range peers {
		all = append(all, peerOf(t, s.Listeners()[0]))
	}
	home := map[*packetPeer]*Loop{}
	used := map[*Loop]int{}
	for range rounds {
		for _, p := range all {
			p.ask("x")
			l := <-of
			if home[p] == nil {
				home[p] = l
				used[l]++
			}
			if home[p] != l {
				t.Fatal("a peer came to another loop")
			}
		}
	}
	want := 2
	if runtime.GOOS != "linux" {
		want = 1
	}
	if len(used) != want {
		t.Errorf("%d peers on %d loops: %v", peers, len(used), used)
	}
}

func s0(p Packet) *Engine { return p.Listener().Engine() }

// TestPacketTooLong: a longer packet than Config allows is dropped and counted.
func TestPacketTooLong(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n, PacketBytesMax: 50}, Handler{OnPacket: echoPacket(t)})
		for _, x := range []struct{ given, bound int }{{0, 50}, {100, 100}} { // that of New, or its own
			l := s.listen(Config{Addr: "udp://127.0.0.1:0", PacketBytesMax: x.given}, nil)
			p := peerOf(t, l)
			p.send(strings.Repeat("x", x.bound+1))
			p.send(strings.Repeat("x", 60_000))
			if got := p.ask(strings.Repeat("y", x.bound)); got != strings.Repeat("y", x.bound) {
				t.Errorf("%d bytes", len(got))
			}
			counted(t, l, ListenerStats{Packets: 1, PacketsTooLong: 2, PacketsSent: 1})
		}
	})
}

// TestPacketPanic: it is logged, and the next packet of the same turn is served.
func TestPacketPanic(t *testing.T) {
	s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 1}, Handler{OnPacket: func(p Packet, data []byte) {
		if string(data) == "panic" {
			panic("on purpose")
		}
		_ = p.Reply(data)
	}})
	p := peerOf(t, s.Listeners()[0])
	for range 3 {
		p.send("panic")
		if got := p.ask("x"); got != "x" {
			t.Errorf("%q", got)
		}
	}
	logged := s.logs.FilterMessageSnippet("OnPacket panicked").All()
	if len(logged) != 3 || logged[0].ContextMap()["panic"] != "on purpose" || logged[0].ContextMap()["remote"] != p.addr().String() ||
		!strings.Contains(logged[0].ContextMap()["stack"].(string), "udp_test.go") {
		t.Errorf("%v", logged)
	}
}

// TestPacketWatchdog: an OnPacket that holds its loop is named.
func TestPacketWatchdog(t *testing.T) {
	release := make(chan bool)
	s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 1, CallbackWarnAfter: 5 * time.Millisecond},
		Handler{OnPacket: func(Packet, []byte) { <-release }})
	peerOf(t, s.Listeners()[0]).send("x")
	s.await("the warning", func() bool {
		for _, l := range s.logs.FilterMessageSnippet("holds up its loop").All() {
			if l.ContextMap()["callback"] == "OnPacket" {
				return true
			}
		}
		return false
	})
	release <- true
	s.await("the all-clear", func() bool { return s.logs.FilterMessageSnippet("the loop goes on").Len() > 0 })
	if st := s.Stats(); st.LoopHeld == 0 {
		t.Errorf("%+v", st)
	}
}

// TestPacketTurn: however many packets wait, others on the loop have their turns.
// What came before Run is delivered.
func TestPacketTurn(t *testing.T) {
	const packets = 50
	var seen, before atomic.Int32
	posted := make(chan bool)
	e, err := New(Config{Addr: "udp://127.0.0.1:0", Loops: 1}, Handler{OnPacket: func(p Packet, _ []byte) {
		if seen.Add(1) == 1 {
			_ = p.Loop().Post(func() { before.Store(seen.Load()); close(posted) })
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	e.test.tired = func() bool { return true }
	p := peerOf(t, e.Listeners()[0])
	for range packets {
		p.send("x")
	}
	s := run(t, e)
	<-posted
	s.await("all packets", func() bool { return seen.Load() == packets })
	if n := before.Load(); n > packets/2 {
		t.Errorf("%d packets came first", n)
	}
}

// TestPacketListenErrors says what is wrong with a listener.
func TestPacketListenErrors(t *testing.T) {
	s := serve(t, Config{}, Handler{}) // nothing wrong without OnPacket if nothing is on udp
	onPacket := Handler{OnPacket: func(Packet, []byte) {}}
	taken := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 2}, onPacket)
	own, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer own.Close()
	for want, x := range map[string]struct {
		addr string
		h    Handler
	}{
		"Handler.OnPacket is nil: a listener on udp://127.0.0.1:0 calls nothing else": {"udp://127.0.0.1:0", Handler{}},
		"udp://" + taken.Addr().String() + " is taken: stop":                          {"udp://" + taken.Addr().String(), onPacket},
		"udp://" + own.LocalAddr().String() + " is taken: stop":                       {"udp://" + own.LocalAddr().String(), onPacket},
		`"udp://127.0.0.1" must be udp://host:port`:                                   {"udp://127.0.0.1", onPacket},
		`"udp+unix:///a" has an unknown scheme: it must be frame, http, `:             {"udp+unix:///a", onPacket},
		"no such host": {"udp://no-such-host.invalid:1", onPacket},
	} {
		if _, err := New(Config{Addr: x.addr, Loops: 2}, x.h); err == nil || !strings.Contains(err.Error(), want) && want != "no such host" {
			t.Errorf("New: error %v, want %s", err, want)
		}
		if _, err := s.Listen(Config{Addr: x.addr}, &x.h); err == nil || !strings.Contains(err.Error(), want) && want != "no such host" {
			t.Errorf("Listen: error %v, want %s", err, want)
		}
	}
	if _, err := New(Config{PacketBytesMax: 1 << 17}, onPacket); err == nil || !strings.Contains(err.Error(), "Config.PacketBytesMax is 131072: it must be from 1 to 65536") {
		t.Error(err)
	}
	if _, err := New(Config{PacketBytesMax: NoLimit}, onPacket); err == nil {
		t.Error("NoLimit is taken")
	}
	if n := len(s.Listeners()); n != 1 {
		t.Errorf("%d listeners", n)
	}
	if err := s.Listeners()[0].WriteTo(nil, netip.MustParseAddrPort("127.0.0.1:9")); err == nil || !strings.Contains(err.Error(), "not of udp://") {
		t.Error(err)
	}
	port := taken.Addr().String()
	if err := taken.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(Config{Addr: "udp://" + port}, &onPacket); err != nil { // free at once
		t.Error(err)
	}
}

// TestPacketAnswerLater: a Packet may be kept, and answered from any goroutine; and
// anybody may be sent to, before Run too.
func TestPacketAnswerLater(t *testing.T) {
	kept := make(chan Packet, 2)
	e, err := New(Config{Addr: "udp://127.0.0.1:0", Loops: 2}, Handler{OnPacket: func(p Packet, _ []byte) { kept <- p }})
	if err != nil {
		t.Fatal(err)
	}
	l := e.Listeners()[0]
	a, b := peerOf(t, l), peerOf(t, l)
	mapped := netip.AddrPortFrom(netip.AddrFrom16(b.addr().Addr().As16()), b.addr().Port()) // IPv4, written in IPv6
	for want, to := range map[string]netip.AddrPort{"early": b.addr(), "mapped": mapped} {
		if err := l.WriteTo([]byte(want), to); err != nil {
			t.Fatal(err)
		}
		if got := b.receive(); got != want {
			t.Errorf("%q", got)
		}
	}
	s := run(t, e)
	a.send("a")
	first := <-kept
	b.send("b")
	second := <-kept
	for range 2 {
		if err := first.Reply([]byte("to a")); err != nil || a.receive() != "to a" {
			t.Error(err)
		}
		if err := second.Reply(nil); err != nil || b.receive() != "" {
			t.Error(err)
		}
	}
	if st := l.Stats(); st.PacketsSent != 6 {
		t.Errorf("%+v", st)
	}
	if err := s.end(); err != nil {
		t.Fatal(err)
	}
	for _, err := range []error{first.Reply(nil), l.WriteTo(nil, a.addr())} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after the end: %v", err)
		}
	}
	if st := l.Stats(); st.PacketsSent != 6 || st.Packets != 2 {
		t.Errorf("%+v", st)
	}
	var none Packet
	if err := none.Reply(nil); err == nil || none.Listener() != nil || none.Loop() != nil || none.RemoteAddr().IsValid() {
		t.Errorf("of no packet: %v", err)
	}
}

// TestPacketSendErrors: what the system refuses is told, with advice.
func TestPacketSendErrors(t *testing.T) {
	s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 2}, Handler{OnPacket: func(Packet, []byte) {}})
	l := s.Listeners()[0]
	four := netip.MustParseAddrPort("127.0.0.1:9")
	for _, x := range []struct {
		size int
		to   netip.AddrPort
		want error
		says string
	}{
		{65508, four, syscall.EMSGSIZE, "a packet of 65508 bytes to 127.0.0.1:9 is too long: UDP carries 65,507 bytes over IPv4"},
		{1, netip.MustParseAddrPort("[::1]:9"), syscall.EAFNOSUPPORT, "sending a packet to [::1]:9"},
		{1, netip.AddrPort{}, syscall.EDESTADDRREQ, "sending a packet to"},
	} {
		if err := l.WriteTo(make([]byte, x.size), x.to); !errors.Is(err, x.want) || !strings.HasPrefix(err.Error(), "engine: "+x.says) {
			t.Errorf("%v, want %v", err, x.want)
		}
	}
	for _, full := range []error{syscall.EAGAIN, syscall.ENOBUFS} {
		if err := sendError(full, 1, four); !errors.Is(err, ErrBackpressure) {
			t.Errorf("%v: %v", full, err)
		}
	}
	if st := l.Stats(); st.PacketsSent != 0 {
		t.Errorf("%+v", st)
	}
}

// TestPacketZone: peers on a link are told apart by the interface, and can be
// answered.
func TestPacketZone(t *testing.T) {
	addr := linkLocal()
	if !addr.IsValid() {
		t.Skip("no interface has a link-local address")
	}
	s := serve(t, Config{Addr: "udp://[::]:0", Loops: 2}, Handler{OnPacket: func(p Packet, _ []byte) {
		if p.RemoteAddr().Addr().Zone() == "" {
			t.Error("the zone is missing")
		}
		_ = p.Reply([]byte(p.RemoteAddr().Addr().WithZone("").String()))
	}})
	l := s.Listeners()[0]
	p := dialPackets(t, "udp", netip.AddrPortFrom(addr, l.Addr().(*net.UDPAddr).AddrPort().Port()).String())
	if got := p.ask("x"); got != addr.WithZone("").String() {
		t.Errorf("from %s, want %s", got, addr)
	}
	if err := l.WriteTo([]byte("by name"), p.addr()); err != nil || p.receive() != "by name" {
		t.Error(err)
	}
	if err := l.WriteTo(nil, netip.AddrPortFrom(addr.WithZone("no-such"), 9)); err == nil {
		t.Error("a zone that does not exist is taken")
	}
}

func linkLocal() (found netip.Addr) {
	all, _ := net.Interfaces()
	for _, i := range all {
		addrs, _ := i.Addrs()
		for _, a := range addrs {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && p.Addr().Is6() && p.Addr().IsLinkLocalUnicast() && i.Flags&net.FlagRunning != 0 {
				return p.Addr().WithZone(i.Name)
			}
		}
	}
	return found
}

// flood sends to a listener until the test is over.
func flood(t *testing.T, l *Listener) (stop func()) {
	var all sync.WaitGroup
	over := make(chan bool)
	for range 3 {
		p := peerOf(t, l)
		all.Go(func() {
			for {
				select {
				case <-over:
					return
				default:
					_, _ = p.Write([]byte("x")) // refused, once the address is closed
				}
			}
		})
	}
	return func() { close(over); all.Wait() }
}

// TestPacketClose while packets arrive and others send: nobody uses the descriptor
// afterwards, the address is free at once, the listener is forgotten.
func TestPacketClose(t *testing.T) {
	loops(t, func(t *testing.T, n int) {
		s := serve(t, Config{Loops: n}, Handler{OnPacket: func(p Packet, data []byte) {
			if err := p.Reply(data); err != nil && !errors.Is(err, ErrClosed) && !errors.Is(err, ErrBackpressure) {
				t.Errorf("Reply: %v", err)
			}
		}})
		addr := "udp://127.0.0.1:0"
		for round := range 20 {
			l := s.listen(Config{Addr: addr}, nil)
			addr = l.String()
			stop := flood(t, l)
			sink := peerOf(t, l)
			var senders sync.WaitGroup
			for range 2 {
				senders.Go(func() {
					for {
						switch err := l.WriteTo([]byte("y"), sink.addr()); {
						case errors.Is(err, ErrClosed):
							return
						case err != nil && !errors.Is(err, ErrBackpressure):
							t.Errorf("WriteTo: %v", err)
							return
						}
					}
				})
			}
			s.await("some packets", func() bool { return l.Stats().Packets > 20 })
			if round%2 == 0 {
				for range 2 {
					if err := l.Close(); err != nil {
						t.Error(err)
					}
				}
			} else if err := l.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			senders.Wait()
			stop()
			s.await("it to be forgotten", func() bool { return len(s.Listeners()) == 1 })
		}
		if err := s.end(); err != nil {
			t.Error(err)
		}
	})
}

// TestPacketShutdownWaits for the callback under way; after that none comes.
func TestPacketShutdownWaits(t *testing.T) {
	for _, whole := range []bool{false, true} {
		inside, leave := make(chan bool), make(chan bool)
		var over atomic.Bool
		var replied error
		s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 2}, Handler{OnPacket: func(p Packet, _ []byte) {
			if over.Load() {
				t.Error("called after Shutdown")
			}
			inside <- true
			<-leave
			replied = p.Reply(nil)
		}})
		l := s.Listeners()[0]
		p := peerOf(t, l)
		p.send("x")
		p.send("y") // waits in the kernel, and is lost
		<-inside
		done := make(chan error, 1)
		go func() {
			if whole {
				done <- s.Shutdown(context.Background())
			} else {
				done <- l.Shutdown(context.Background())
			}
			over.Store(true)
		}()
		s.await("the end of the address", func() bool { return errors.Is(l.WriteTo(nil, p.addr()), ErrClosed) })
		if len(done) > 0 {
			t.Error("Shutdown did not wait")
		}
		leave <- true
		if err := <-done; err != nil || !errors.Is(replied, ErrClosed) {
			t.Errorf("%v; Reply: %v", err, replied)
		}
		if st := l.Stats(); st.Packets != 1 {
			t.Errorf("%+v", st)
		}
	}
}

// TestPacketShutdownInACallback fails.
func TestPacketShutdownInACallback(t *testing.T) {
	errs := make(chan error, 2)
	s := serve(t, Config{Addr: "udp://127.0.0.1:0"}, Handler{OnPacket: func(p Packet, _ []byte) {
		errs <- p.Listener().Shutdown(context.Background())
		errs <- p.Listener().Close() // which is allowed
		errs <- p.Reply(nil)
	}})
	peerOf(t, s.Listeners()[0]).send("x")
	if err := <-errs; err == nil || !strings.Contains(err.Error(), "callback") {
		t.Error(err)
	}
	if err := <-errs; err != nil {
		t.Error(err)
	}
	if err := <-errs; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// TestPacketUnused: an engine that never ran frees its address.
func TestPacketUnused(t *testing.T) {
	e, err := New(Config{Addr: "udp://127.0.0.1:0", Loops: 2}, Handler{OnPacket: func(Packet, []byte) {}})
	if err != nil {
		t.Fatal(err)
	}
	addr := e.Addr().String()
	if err := e.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := net.ListenPacket("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
}

// TestPacketBesideConnections: packets and connections are of one engine, and the
// same port may be used for both. What a callback of a packet sends to a
// connection of its loop leaves at the end of the turn.
func TestPacketBesideConnections(t *testing.T) {
	conns := make(chan *Conn, 1)
	s := serve(t, Config{Loops: 1}, Handler{
		OnOpen:   func(c *Conn) { conns <- c },
		OnPacket: func(p Packet, data []byte) { _ = s0(p).Broadcast(Message{Type: Text, Data: data}) },
	})
	l := s.listen(Config{Addr: "udp://" + s.Addr().String(), HTTP: http.NotFoundHandler()}, nil)
	c := s.dial("/", nil)
	<-conns
	peerOf(t, l).send("hello")
	c.expect("hello")
}

// TestPacketAllocatesNothing: neither what comes nor what is sent.
func TestPacketAllocatesNothing(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "[::1]"} {
		t.Run(host, func(t *testing.T) {
			if host == "[::1]" {
				sixWorks(t)
			}
			s := serve(t, Config{Addr: "udp://" + host + ":0", Loops: 1}, Handler{OnPacket: func(p Packet, data []byte) {
				_ = p.Reply(data)
				_ = p.Listener().WriteTo(data, p.RemoteAddr())
			}})
			p := peerOf(t, s.Listeners()[0])
			data := make([]byte, 1200)
			allocatesNothing(t, 1, func() {
				if _, err := p.Write(data); err != nil {
					t.Fatal(err)
				}
				for range 2 {
					if n, err := p.Read(p.buf[:]); err != nil || n != len(data) {
						t.Fatal(n, err)
					}
				}
			})
		})
	}
}

// TestPacketAnsweredInADrain: a packet that OnPacket has when its socket is to close is answered: nobody else can do it.
func TestPacketAnsweredInADrain(t *testing.T) {
	inside, release, replied := make(chan bool, 1), make(chan bool, 1), make(chan error, 1)
	s := serve(t, Config{Addr: "udp://127.0.0.1:0", Loops: 1}, Handler{OnPacket: func(p Packet, data []byte) {
		inside <- true
		<-release
		replied <- p.Reply(data)
	}})
	l := s.Listeners()[0]
	peer := peerOf(t, l)
	peer.send("x")
	one(t, inside, "the packet")
	x := s.drain(t.Context(), Drain{})
	x.at(DrainUnready)
	x.to(DrainArrived)
	x.to(DrainClosing) // the listener has been closed
	release <- true
	if err := one(t, replied, "the answer"); err != nil {
		t.Error(err)
	}
	if err := x.end(DrainClosing); err != nil {
		t.Error(err)
	}
	if err := l.WriteTo(nil, peer.addr()); !errors.Is(err, ErrClosed) {
		t.Errorf("afterwards: %v", err)
	}
}
