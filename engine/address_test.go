package engine

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// proxyHeader is what a proxy sends before the first byte of a client at ip.
func proxyHeader(t *testing.T, version byte, ip string) string {
	t.Helper()
	client := netip.MustParseAddr(ip)
	if version == 1 {
		return fmt.Sprintf("PROXY TCP4 %v %v 50000 80\r\n", client, client)
	}
	family := byte(0x11)
	if client.Is6() {
		family = 0x21
	}
	body := string(client.AsSlice()) + string(client.AsSlice()) + "\xc3\x50\x00\x50"
	return "\r\n\r\n\x00\r\nQUIT\n\x21" + string([]byte{family, 0, byte(len(body))}) + body
}

// TestClientAddr: what a trusted proxy says is believed, and only that.
func TestClientAddr(t *testing.T) {
	v1, v2, v26 := proxyHeader(t, 1, "203.0.113.5"), proxyHeader(t, 2, "203.0.113.5"), proxyHeader(t, 2, "2001:db8::7")
	trusting := Config{TrustedProxies: []string{"127.0.0.0/8", "10.1.1.1"}}
	for _, tt := range []struct {
		name   string
		cfg    Config
		header string // before the request
		fields []string
		want   string
		status int
	}{
		{"nobody in between", Config{}, "", nil, "127.0.0.1", 101},
		{"PROXY v1", trusting, v1, nil, "203.0.113.5", 101},
		{"PROXY v2", trusting, v2, nil, "203.0.113.5", 101},
		{"PROXY v2, IPv6", trusting, v26, nil, "2001:db8::7", 101},
		{"PROXY UNKNOWN", trusting, "PROXY UNKNOWN\r\n", nil, "127.0.0.1", 101},
		{"PROXY wins over fields", trusting, v1, []string{"X-Forwarded-For: 198.51.100.1"}, "203.0.113.5", 101},
		{"a liar's PROXY header", Config{}, v1, nil, "", 400},
		{"a liar's PROXY header, v2", Config{}, v2, nil, "", 400},
		{"X-Forwarded-For", trusting, "", []string{"X-Forwarded-For: 198.51.100.1"}, "198.51.100.1", 101},
		{"the client lies in front", trusting, "", []string{"X-Forwarded-For: 1.2.3.4, 198.51.100.1, 10.1.1.1"}, "198.51.100.1", 101},
		{"several fields", trusting, "", []string{"X-Forwarded-For: 1.2.3.4", "X-Forwarded-For: 198.51.100.1"}, "198.51.100.1", 101},
		{"Forwarded", trusting, "", []string{`Forwarded: for=1.2.3.4, for="[2001:db8::9]:4711";proto=https`, "X-Forwarded-For: 5.6.7.8"}, "2001:db8::9", 101},
		{"Forwarded for unknown", trusting, "", []string{"Forwarded: for=1.2.3.4, for=unknown"}, "127.0.0.1", 101},
		{"Forwarded, a comma in quotes", trusting, "", []string{`Forwarded: for=198.51.100.1;host="a, for=6.6.6.6"`}, "198.51.100.1", 101},
		{"Forwarded, for twice", trusting, "", []string{"Forwarded: for=198.51.100.1;for=6.6.6.6"}, "127.0.0.1", 101},
		{"Forwarded without for", trusting, "", []string{"Forwarded: for=6.6.6.6, proto=https"}, "127.0.0.1", 101},
		{"Forwarded without for, before", trusting, "", []string{"Forwarded: proto=https, for=198.51.100.1, for=10.1.1.1"}, "198.51.100.1", 101},
		{"a proxy is the client", trusting, "", []string{"X-Forwarded-For: 10.1.1.1"}, "10.1.1.1", 101},
		{"garbage", trusting, "", []string{"X-Forwarded-For: <script>"}, "127.0.0.1", 101},
		{"fields of a stranger", Config{}, "", []string{"X-Forwarded-For: 198.51.100.1", "Forwarded: for=198.51.100.1"}, "127.0.0.1", 101},
		{"a malformed PROXY header", trusting, "PROXY TCP4 nonsense\r\n", nil, "", 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			seen := make(chan netip.Addr, 3)
			s := serve(t, tt.cfg, Handler{
				OnUpgrade: func(u *Upgrade) error { seen <- u.ClientAddr; return nil },
				OnOpen:    func(c *Conn) { seen <- c.ClientAddr() },
				OnMessage: echo,
			})
			whole := tt.header + upgradeHead(tt.fields...) + "\x81\x82\x00\x00\x00\x00hi\x88\x80\x00\x00\x00\x00"
			for _, cut := range []int{len(whole), 0, 3, len(tt.header), len(tt.header) / 2, len(tt.header) + 5} {
				nc := s.connect()
				for _, part := range []string{whole[:cut], whole[cut:]} {
					if _, err := io.WriteString(nc, part); err != nil && tt.status == 101 {
						t.Fatal(err)
					}
				}
				if tt.status == 0 {
					if b, _ := io.ReadAll(nc); len(b) != 0 {
						t.Errorf("answered %q", b)
					}
					continue
				}
				r, rest := s.response(nc)
				if r.StatusCode != tt.status {
					t.Fatalf("cut at %d: %s", cut, r.Status)
				}
				if tt.status != 101 {
					continue
				}
				if a, b := <-seen, <-seen; a.String() != tt.want || b != a || rest != "\x81\x02hi\x88\x00" {
					t.Errorf("cut at %d: client %v, %v, then %q", cut, a, b, rest)
				}
			}
		})
	}
}

// TestTrustedProxies: each spelling matches the addresses that it names, however
// those are written.
func TestTrustedProxies(t *testing.T) {
	for _, tt := range []struct{ proxy, yes, no string }{
		{"10.1.2.3", "10.1.2.3", "10.1.2.4"},
		{"10.1.2.3/8", "10.9.9.9", "11.1.2.3"},
		{"::ffff:10.1.2.3", "10.1.2.3", "10.1.2.4"},
		{"::ffff:10.1.2.3/104", "10.9.9.9", "11.1.2.3"},
		{"::ffff:0:0/96", "192.0.2.1", "2001:db8::1"},
		{"2001:db8::/32", "2001:db8::1", "2001:db9::1"},
		{"fe80::/10", "fe80::1%eth0", "fec0::1"},
	} {
		e, err := New(Config{TrustedProxies: []string{tt.proxy}}, Handler{})
		if err != nil {
			t.Fatal(err)
		}
		for addr, want := range map[string]bool{tt.yes: true, tt.no: false} {
			a := hostAddr(net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(addr), 1)))
			if e.main.proxies.trust(a) != want {
				t.Errorf("%q, %s: trusted %v", tt.proxy, addr, !want)
			}
			if a.Is4() && e.main.proxies.trust(hostAddr(&net.TCPAddr{IP: net.IP(a.AsSlice()).To16()})) != want {
				t.Errorf("%q, %s in IPv6: trusted %v", tt.proxy, addr, !want)
			}
		}
		_ = e.Shutdown(t.Context())
	}
}

// TestTrustedUnixSocket: on a unix socket no address names the proxy; "unix" does.
func TestTrustedUnixSocket(t *testing.T) {
	for entry, want := range map[string]string{"unix": "203.0.113.5", "0.0.0.0/0": "invalid IP"} {
		for _, header := range []string{"", proxyHeader(t, 2, "203.0.113.5")} {
			if entry != "unix" && header != "" {
				continue // it is no handshake then
			}
			seen := make(chan netip.Addr, 1)
			s := serve(t, Config{Addr: "ws+unix://" + filepath.Join(t.TempDir(), "s"), TrustedProxies: []string{entry}},
				Handler{OnOpen: func(c *Conn) { seen <- c.ClientAddr() }})
			field := "X-Forwarded-For: 203.0.113.5"
			if header != "" {
				field = "X-Forwarded-For: 198.51.100.1"
			}
			if r, _ := s.exchange(header + upgradeHead(field) + "\x88\x80\x00\x00\x00\x00"); r.StatusCode != 101 {
				t.Fatal(r.Status)
			}
			if got := <-seen; got.String() != want {
				t.Errorf("%q: the client is %v, want %s", entry, got, want)
			}
		}
	}
}

// TestLimitsPerAddress counts clients behind a proxy, not the proxy.
func TestLimitsPerAddress(t *testing.T) {
	s := serve(t, Config{TrustedProxies: []string{"127.0.0.1"}, ConnectionsPerAddressMax: 2, AcceptsPerAddressPerSecond: 1000,
		HTTP: http.NotFoundHandler()}, Handler{OnMessage: echo})
	open := func(ip string) (*client, int) {
		nc := s.connect()
		_, _ = io.WriteString(nc, proxyHeader(s.t.(*testing.T), 2, ip))
		c := newClient(t, nc, &codec.Options{Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 20, FragmentsMax: 10, Host: "a", Target: "/"})
		c.session.Start(&c.env)
		c.flush()
		ev, err := c.next()
		if err != nil || ev.Kind == codec.Close {
			if c.env.Closed == nil || !strings.Contains(c.env.Closed.Error(), "429") {
				t.Errorf("refused with %v %v", err, c.env.Closed)
			}
			return nil, 429
		}
		return c, 101
	}
	a1, _ := open("203.0.113.1")
	_, _ = open("203.0.113.1")
	if _, status := open("203.0.113.1"); status != 429 {
		t.Error("a third connection of one client was taken")
	}
	if _, status := open("203.0.113.2"); status != 101 {
		t.Error("another client was refused")
	}
	for range 5 { // the proxy itself, and loopback, are exempt
		c := s.dial("/", nil)
		defer c.Close()
	}
	a1.close(1000, "")
	_ = a1.closed()
	s.await("a place for the first client", func() bool {
		return s.gate.Of(netip.MustParseAddr("203.0.113.1")) == 1
	})
	if _, status := open("203.0.113.1"); status != 101 {
		t.Error("the freed place was not given")
	}
}

// TestUnnamedClients: who spoils what the proxies say of it, or whom they do not
// name, is not taken for the proxy: all of those share the limits of one client.
func TestUnnamedClients(t *testing.T) {
	s := serve(t, Config{TrustedProxies: []string{"127.0.0.1"}, ConnectionsPerAddressMax: 1}, Handler{OnMessage: echo})
	proxy := netip.MustParseAddr("127.0.0.1")
	for _, field := range []string{
		`Forwarded: for="6.6.6.6, for=198.51.100.1`, // the client's open quote in front of the proxy's word
		"Forwarded: for=198.51.100.1;for=198.51.100.1",
		"Forwarded: for=unknown",
		"Forwarded: for=_hidden",
		"Forwarded: ,",
		"X-Forwarded-For: unknown",
	} {
		s.await("the place", func() bool { return s.gate.Of(proxy) == 0 })
		name, value, _ := strings.Cut(field, ": ")
		first := s.dial("/", nil, protocol.Field{Name: name, Value: value})
		if r, _ := s.exchange(upgradeHead(field) + "\x88\x80\x00\x00\x00\x00"); r.StatusCode != 429 {
			t.Errorf("%s: the second gets %s", field, r.Status)
		}
		if r, _ := s.exchange(upgradeHead() + "\x88\x80\x00\x00\x00\x00"); r.StatusCode != 101 {
			t.Errorf("the proxy itself gets %s", r.Status)
		}
		_ = first.Conn.Close()
	}
}

// TestClientStaysThroughHTTP: what a PROXY header said holds for the life of the
// connection, through Config.HTTP and back, and counts once.
func TestClientStaysThroughHTTP(t *testing.T) {
	for _, ending := range []string{"upgrade", "close", "refused", "no room"} {
		t.Run(ending, func(t *testing.T) {
			seen := make(chan netip.Addr, 2)
			s := serve(t, Config{TrustedProxies: []string{"127.0.0.1"}, ConnectionsPerAddressMax: 1, HalfOpenMax: 2, HandshakeTimeout: patience, HTTP: http.HandlerFunc(sum)}, Handler{
				OnUpgrade: func(u *Upgrade) error {
					seen <- u.ClientAddr
					if ending == "refused" {
						return Refuse(401, "no")
					}
					return nil
				},
				OnOpen: func(c *Conn) { seen <- c.ClientAddr() },
			})
			client := netip.MustParseAddr("203.0.113.5")
			nc := s.connect()
			br := bufio.NewReader(nc)
			ask := func(request string, status int) {
				t.Helper()
				_, _ = io.WriteString(nc, request)
				r, err := http.ReadResponse(br, nil)
				if err != nil || r.StatusCode != status {
					t.Fatalf("%v %v, want %d", r, err, status)
				}
				_, _ = io.Copy(io.Discard, r.Body)
			}
			lie := "X-Forwarded-For: 198.51.100.1"
			ask(proxyHeader(t, 2, client.String())+"GET / HTTP/1.1\r\nHost: a\r\n"+lie+"\r\n\r\n", 200)
			second := s.connect()
			_, _ = io.WriteString(second, proxyHeader(t, 1, client.String())+upgradeHead())
			if r, _ := s.response(second); r.StatusCode != 429 {
				t.Errorf("a second connection of the client, while the first is in Config.HTTP: %s", r.Status)
			}
			_ = second.Close()
			ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", 200)
			if n, half := s.gate.Of(client), s.gate.Counts().Half; n != 1 || half != 0 {
				t.Errorf("in Config.HTTP %d of the client are counted, %d half open", n, half)
			}
			switch ending {
			case "upgrade":
				ask(upgradeHead(lie), 101)
				if a, b := <-seen, <-seen; a != client || b != client {
					t.Errorf("after Config.HTTP the client is %v, %v", a, b)
				}
			case "refused":
				ask(upgradeHead(lie), 401)
				if a := <-seen; a != client {
					t.Errorf("after Config.HTTP the client is %v", a)
				}
			}
			if ending == "no room" { // for another handshake
				silent := []net.Conn{s.connect(), s.connect()}
				s.await("two to be half open", func() bool { return s.gate.Counts().Half == 2 })
				ask(upgradeHead(lie), 503)
				for _, nc := range silent {
					_ = nc.Close()
				}
			}
			if n := s.gate.Of(client); ending == "upgrade" && n != 1 {
				t.Errorf("%d of the client are counted", n)
			}
			_ = nc.Close()
			s.await("all to be gone", func() bool { return s.Stats().Connections == 0 })
			if n, half := s.gate.Of(client), s.gate.Counts().Half; n != 0 || half != 0 {
				t.Errorf("at the end %d of the client are counted, %d half open", n, half)
			}
		})
	}
}

// TestHalfOpenMax: silent peers use up the handshakes under way, and then
// newcomers get 503; open connections do not count.
func TestHalfOpenMax(t *testing.T) {
	s := serve(t, Config{HalfOpenMax: 3, HandshakeTimeout: patience}, Handler{OnMessage: echo})
	c := s.dial("/", nil)
	for range 3 {
		_ = s.connect()
	}
	s.await("three half-open", func() bool { return s.gate.Counts().Half == 3 })
	if r, _ := s.exchange(upgradeHead()); r.StatusCode != 503 {
		t.Errorf("%s", r.Status)
	}
	c.send(protocol.OpText, "x")
	c.expect("x")
	_ = c.Conn.Close()
	_ = s.end()
	if n := s.gate.Counts().Half; n != 0 {
		t.Errorf("%d are counted at the end", n)
	}
}

// TestRates: above a rate nothing is lost and nobody is closed, but reading
// pauses, so that it takes several seconds' windows.
func TestRates(t *testing.T) {
	for name, cfg := range map[string]Config{
		"control":  {ControlFramesPerSecond: 2},
		"messages": {MessagesPerSecond: 2},
		"bytes":    {BytesPerSecond: 1024},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cfg.Loops = 1
			conns := make(chan *Conn, 1)
			s := serve(t, cfg, Handler{OnOpen: func(c *Conn) {
				select {
				case conns <- c:
				default:
				}
			}, OnMessage: echo})
			cl := s.dial("/", nil)
			c := <-conns
			var frames []byte
			for range 5 {
				frames, _ = cl.session.Encode(&cl.env, frames, protocol.OpPing, []byte("p"), false)
				frames, _ = cl.session.Encode(&cl.env, frames, protocol.OpText, make([]byte, 400), false)
			}
			_, _ = cl.Write(frames)
			for range 5 {
				cl.receive()
			}
			// Five of a kind at two in a second: twice, or once if a second ended
			// in between. Without a pause, each of the last four would be counted.
			if n := c.Stats().RateLimited; n == 0 || n > 2 {
				t.Errorf("reading paused %d times", n)
			}
		})
	}
}

func TestLifetime(t *testing.T) {
	ended := make(chan *CloseError, 1)
	s := serve(t, Config{LifetimeMax: 50 * time.Millisecond}, Handler{OnClose: func(_ *Conn, e *CloseError) { ended <- e }})
	if info := s.dial("/", nil).closed(); info.Code != protocol.CloseGoingAway {
		t.Errorf("closed with %v", info)
	}
	if e := <-ended; e.Remote || e.Code != protocol.CloseGoingAway {
		t.Errorf("OnClose: %v", e)
	}
	_ = s.end()
	s.balanced()
}

// TestBufferBudget: when all buffers together exceed the budget, who holds most
// is closed first, newcomers get 503, and the small go on.
func TestBufferBudget(t *testing.T) {
	for _, kind := range []string{"backlog", "unfinished message"} {
		t.Run(kind, func(t *testing.T) {
			conns := make(chan *Conn, 1)
			ended := make(chan *CloseError, 1)
			s := serve(t, Config{Loops: 2, BufferBytesMax: 2 << 20, CloseTimeout: 50 * time.Millisecond}, Handler{
				OnUpgrade: func(u *Upgrade) error {
					if u.Request.Path == "/small" {
						u.Handler = &Handler{OnMessage: echo}
					}
					return nil
				},
				OnOpen:  func(c *Conn) { conns <- c },
				OnClose: func(_ *Conn, e *CloseError) { ended <- e },
			})
			small := s.dial("/small", nil)
			half := s.dial("/small", nil)
			_, _ = half.Write([]byte("\x02\x84\x00\x00\x00\x00half")) // a first fragment
			big := s.dial("/", nil)
			c := <-conns
			full := make(chan struct{})
			if kind == "backlog" {
				go func() {
					defer close(full)
					for c.SendBinary(make([]byte, 64<<10)) == nil {
					}
				}()
			} else {
				go func() {
					defer close(full)
					_, _ = big.Write([]byte("\x02\xff\x00\x00\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00")) // 8 MiB announced
					for {
						if _, err := big.Write(make([]byte, 64<<10)); err != nil {
							return
						}
					}
				}()
			}
			if e := <-ended; e.Code != protocol.CloseTryAgainLater {
				t.Errorf("OnClose: %v", e)
			}
			s.await("the budget again", func() bool { return s.memory.buffered.Load() < 1<<20 })
			small.send(protocol.OpText, "x")
			small.expect("x")
			_, _ = half.Write([]byte("\x80\x80\x00\x00\x00\x00"))
			half.expect("half")
			_ = big.Conn.Close()
			<-full
			s.memory.buffered.Add(2 << 20) // as if spent
			if r, _ := s.exchange(upgradeHead()); r.StatusCode != 503 {
				t.Errorf("%s", r.Status)
			}
			s.memory.buffered.Add(-2 << 20)
			_ = small.Conn.Close()
			_ = half.Conn.Close()
			_ = s.end()
			s.balanced()
			if n := s.memory.buffered.Load(); n != 0 {
				t.Errorf("%d bytes are counted at the end", n)
			}
		})
	}
}

// TestRemoteAddr: a connection keeps its peer's address in short, and programs get the whole of it.
func TestRemoteAddr(t *testing.T) {
	for _, a := range []net.Addr{
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1).To4(), Port: 65535},
		&net.TCPAddr{IP: net.IPv4(192, 0, 2, 1).To16(), Port: 1},
		&net.TCPAddr{IP: net.ParseIP("2001:db8::7"), Port: 443},
		&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "2", Port: 443},
		&net.TCPAddr{},
		&net.UnixAddr{Name: "@", Net: "unix"},
	} {
		c := &Conn{who: identity{remote: shorten(a)}}
		got := c.RemoteAddr()
		if fmt.Sprintf("%T %v %s", got, got, got.Network()) != fmt.Sprintf("%T %v %s", a, a, a.Network()) {
			t.Errorf("%T %v, want %T %v", got, got, a, a)
		}
		if s := c.who.remote; s.String() != a.String() || s.Network() != a.Network() || hostAddr(s) != hostAddr(a) {
			t.Errorf("%v is kept as %v of %s, host %v, want %v", a, s, s.Network(), hostAddr(s), hostAddr(a))
		}
	}
	for _, ip := range []string{"127.0.0.1", "::1"} {
		addrs := make(chan net.Addr, 1)
		s := serve(t, Config{Addr: "ws://" + net.JoinHostPort(ip, "0")}, Handler{OnOpen: func(c *Conn) { addrs <- c.RemoteAddr() }})
		cl := s.dial("/", nil)
		if a, ok := one(t, addrs, "the connection").(*net.TCPAddr); !ok || a.String() != cl.LocalAddr().String() {
			t.Errorf("the peer is %v (a TCPAddr: %v), want %v", a, ok, cl.LocalAddr())
		}
	}
}
