//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	centrifugal "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/protocol"
)

// hubServer is an honest server of the Centrifugal protocol, but for what a test has it
// change.
type hubServer struct {
	protobuf, history bool
	sparse            bool // offsets do not rise by one
	nodes             int  // addresses; 0: one

	// change sees each reply before it is sent to a connection, and what it pushes. It may change it. n counts
	// the replies of its kind to all. With false the reply is not sent.
	change func(n int, kind string, r *centrifugal.Reply) bool
	// frames changes the frames that are sent; nil: it closes.
	frames func(n int, frame []byte) []byte

	mu       sync.Mutex
	seen     map[string]int // by kind
	framed   int
	clients  int
	channels map[string]*hubChannel
}

type hubChannel struct {
	members []*hubConn
	past    []*centrifugal.Publication
}

type hubConn struct {
	net.Conn
	id, user string
}

func (s *hubServer) start(t *testing.T) string {
	s.seen, s.channels = map[string]int{}, map[string]*hubChannel{}
	var addrs []string
	for range max(1, s.nodes) {
		addrs = append(addrs, listen(t, func(c net.Conn) { _ = s.serve(c) }))
	}
	return strings.Join(addrs, ",")
}

func (s *hubServer) serve(nc net.Conn) error {
	in := bufio.NewReader(nc)
	q, err := http.ReadRequest(in)
	if err != nil {
		return err
	}
	chosen := q.Header.Get("Sec-WebSocket-Protocol")
	if q.URL.Path != "/connection/websocket" || (chosen == "centrifuge-protobuf") != s.protobuf {
		return fmt.Errorf("the load asks for %s in %q", q.URL, chosen)
	}
	if _, err = nc.Write(protocol.AppendSwitchingProtocols(nil, q.Header.Get("Sec-WebSocket-Key"), chosen, "", nil)); err != nil {
		return err
	}
	c := &hubConn{Conn: nc}
	defer s.leave(c)
	for {
		frame, err := hubFrame(in)
		if err != nil {
			return err
		}
		var d centrifugal.CommandDecoder = centrifugal.NewJSONCommandDecoder(frame)
		if s.protobuf {
			d = centrifugal.NewProtobufCommandDecoder(frame)
		}
		for end := false; !end; {
			cmd, err := d.Decode()
			if end = errors.Is(err, io.EOF); err != nil && !end {
				return err
			}
			if err := s.handle(c, cmd); err != nil {
				return err
			}
		}
	}
}

// hubFrame reads one frame of the load.
func hubFrame(in *bufio.Reader) ([]byte, error) {
	var b []byte
	for {
		next, err := in.ReadByte()
		if err != nil {
			return nil, err
		}
		b = append(b, next)
		h, n, err := protocol.ParseHeader(b)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			payload := make([]byte, h.Length)
			_, err = io.ReadFull(in, payload)
			protocol.Mask(payload, h.Key, 0)
			return payload, err
		}
	}
}

func (s *hubServer) leave(c *hubConn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.channels {
		ch.members = slices.DeleteFunc(ch.members, func(m *hubConn) bool { return m == c })
	}
}

func (s *hubServer) handle(c *hubConn, cmd *centrifugal.Command) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case cmd.Connect != nil:
		var claims jwt.RegisteredClaims
		_, err := jwt.ParseWithClaims(cmd.Connect.Token, &claims, func(*jwt.Token) (any, error) { return []byte("secret"), nil }, jwt.WithValidMethods([]string{"HS256"}))
		if err != nil {
			return err
		}
		s.clients++
		c.id, c.user = fmt.Sprintf("client%d", s.clients), claims.Subject
		return s.send(c, "connect", &centrifugal.Reply{Id: cmd.Id, Connect: &centrifugal.ConnectResult{Client: c.id, Ping: 25, Pong: true}})
	case cmd.Subscribe != nil:
		ch := s.channels[cmd.Subscribe.Channel]
		if ch == nil {
			ch = &hubChannel{}
			s.channels[cmd.Subscribe.Channel] = ch
		}
		ch.members = append(ch.members, c)
		r := &centrifugal.SubscribeResult{WasRecovering: cmd.Subscribe.Recover, Recovered: cmd.Subscribe.Recover}
		if s.history {
			r.Recoverable, r.Positioned, r.Epoch, r.Offset = true, true, "now", uint64(len(ch.past))
		}
		if r.Recovered {
			r.Offset, r.Publications = cmd.Subscribe.Offset, slices.Clone(ch.past[cmd.Subscribe.Offset:])
		}
		return s.send(c, "subscribe", &centrifugal.Reply{Id: cmd.Id, Subscribe: r})
	case cmd.Publish != nil:
		ch := s.channels[cmd.Publish.Channel]
		p := &centrifugal.Publication{Data: bytes.Clone(cmd.Publish.Data), Info: &centrifugal.ClientInfo{User: c.user, Client: c.id}}
		if s.history {
			ch.past = append(ch.past, p)
			p.Offset = uint64(len(ch.past))
			if s.sparse {
				p.Offset = 3 * p.Offset
			}
		}
		for _, m := range ch.members {
			each := &centrifugal.Publication{Data: p.Data, Info: &centrifugal.ClientInfo{User: c.user, Client: c.id}, Offset: p.Offset}
			_ = s.send(m, "publication", &centrifugal.Reply{Push: &centrifugal.Push{Channel: cmd.Publish.Channel, Pub: each}}) // fails once the load has gone
		}
		return s.send(c, "publish", &centrifugal.Reply{Id: cmd.Id, Publish: &centrifugal.PublishResult{}})
	case cmd.Unsubscribe != nil:
		ch := s.channels[cmd.Unsubscribe.Channel]
		ch.members = slices.DeleteFunc(ch.members, func(m *hubConn) bool { return m == c })
		return s.send(c, "unsubscribe", &centrifugal.Reply{Id: cmd.Id, Unsubscribe: &centrifugal.UnsubscribeResult{}})
	case cmd.Presence != nil:
		who := map[string]*centrifugal.ClientInfo{}
		for _, m := range s.channels[cmd.Presence.Channel].members {
			who[m.id] = &centrifugal.ClientInfo{User: m.user, Client: m.id}
		}
		return s.send(c, "presence", &centrifugal.Reply{Id: cmd.Id, Presence: &centrifugal.PresenceResult{Presence: who}})
	case cmd.Id == 0:
		s.seen["pong"]++
		return nil
	}
	return fmt.Errorf("the load sends %v", cmd)
}

// send sends a reply. It is called with the lock.
func (s *hubServer) send(c *hubConn, kind string, r *centrifugal.Reply) error {
	n := s.seen[kind]
	s.seen[kind]++
	if s.change != nil && !s.change(n, kind, r) {
		return nil
	}
	return s.write(c, s.encode(r))
}

func (s *hubServer) encode(r *centrifugal.Reply) []byte {
	var e centrifugal.ReplyEncoder = centrifugal.NewJSONReplyEncoder()
	if s.protobuf {
		e = centrifugal.NewProtobufReplyEncoder()
	}
	b, err := e.Encode(r)
	if err != nil {
		panic(err)
	}
	if s.protobuf {
		b = append(binary.AppendUvarint(nil, uint64(len(b))), b...)
	}
	return b
}

// header begins a frame.
func (s *hubServer) header(payload int) []byte {
	h := protocol.Header{Fin: true, Opcode: protocol.OpText, Length: int64(payload)}
	if s.protobuf {
		h.Opcode = protocol.OpBinary
	}
	return protocol.AppendHeader(nil, h)
}

// write sends a frame with payload b.
func (s *hubServer) write(c *hubConn, b []byte) error {
	frame := append(s.header(len(b)), b...)
	n := s.framed
	s.framed++
	if s.frames != nil {
		if frame = s.frames(n, frame); frame == nil {
			return net.ErrClosed
		}
	}
	_, err := c.Write(frame)
	return err
}

func shortHub(addr, mode string, s *hubServer) options {
	o := short(addr, mode)
	o.conns, o.secret, o.missed, o.history, o.protobuf, o.sparse = 6, "secret", 5, s.history, s.protobuf, s.sparse
	o.rate = 20_000
	return o
}

// An honest hub passes, in every mode and format.
func TestHonestHub(t *testing.T) {
	for _, mode := range []string{"hub", "hub-idle", "hub-return"} {
		for _, protobuf := range []bool{false, true} {
			for _, history := range []bool{false, true} {
				if mode == "hub-return" && !history {
					continue
				}
				t.Run(fmt.Sprintf("%s, Protobuf %v, history %v", mode, protobuf, history), func(t *testing.T) {
					t.Parallel()
					s := &hubServer{protobuf: protobuf, history: history}
					o := shortHub(s.start(t), mode, s)
					o.conns = 20
					r, err := generate(o)
					if err != nil {
						t.Fatal(err)
					}
					if r.Messages == 0 || r.WindowNs <= 0 || r.ServerCPUNs <= 0 || r.Compared != r.Counted || r.Latency.Samples == 0 && mode != "hub-idle" {
						t.Errorf("%+v", r)
					}
					// 2 publications to each of 22 members, and 5 to the 2 who stay and the 20 who come back
					if want := uint64(2*22 + 5*22); mode == "hub-return" && (r.Messages != 20 || r.Counted != want || r.Latency.Samples != 20) {
						t.Errorf("%+v: want 20 messages, 20 latencies and %d counted", r, want)
					}
					if mode == "hub-idle" && r.Messages != 20 {
						t.Errorf("%+v: want 20 messages", r)
					}
				})
			}
		}
	}
}

// Publications that come in any pieces are the same publications.
func TestHubPieces(t *testing.T) {
	for _, protobuf := range []bool{false, true} {
		s := &hubServer{protobuf: protobuf, history: true}
		o := shortHub("127.0.0.1:1", "hub", s)
		o.conns, o.topics, o.inFlight = 1, 1, 20
		l, err := newLoad(o)
		if err != nil {
			t.Fatal(err)
		}
		defer l.close()
		h, err := newHub(l)
		if err != nil {
			t.Fatal(err)
		}
		c := &h.clients[0]
		c.stage, c.id, h.channels[0].first = follows, "me", 1
		var stream []byte
		for n := range 2 * o.inFlight {
			b := s.encode(&centrifugal.Reply{Push: &centrifugal.Push{Channel: "c00", Pub: &centrifugal.Publication{
				Data: l.payloads[n%variants], Info: &centrifugal.ClientInfo{User: user(0), Client: "me"}, Offset: uint64(n + 1),
			}}})
			stream = append(append(stream, s.header(len(b))...), b...)
		}
		for piece := 1; piece < 700; piece += 1 + piece/40 {
			h.conns[0] = conn{}
			h.groups[0].published, h.groups[0].members = uint64(2*o.inFlight), 2 // so that nothing is published for it
			for at := 0; at < len(stream); at += piece {
				if err := h.received(0, stream[at:min(at+piece, len(stream))]); err != nil {
					t.Fatalf("Protobuf %v, pieces of %d: %v", protobuf, piece, err)
				}
			}
			if got := h.conns[0].got; got != uint64(2*o.inFlight) || h.conns[0].off != 0 {
				t.Fatalf("Protobuf %v, pieces of %d: %d publications, and %d bytes of another", protobuf, piece, got, h.conns[0].off)
			}
			clear(h.channels[0].pushes)
		}
		if err := h.received(0, stream[:3]); err != nil || h.conns[0].off != 3 {
			t.Errorf("Protobuf %v: a piece is left, %d bytes, %v", protobuf, h.conns[0].off, err)
		}
	}
}

// Replies that share a frame, and pings between them, are what they are.
func TestHubFrames(t *testing.T) {
	for _, protobuf := range []bool{false, true} {
		s := &hubServer{protobuf: protobuf, history: true}
		var waits []byte // the first replies to publications wait for the next push to the same connection
		s.change = func(n int, kind string, r *centrifugal.Reply) bool {
			if kind == "publish" && n < 100 {
				waits = s.encode(r)
				return false
			}
			return true
		}
		ping := []byte("{}")
		if protobuf {
			ping = []byte{0}
		}
		var merged bool
		s.frames = func(n int, frame []byte) []byte {
			h, size, _ := protocol.ParseHeader(frame)
			body := frame[size:]
			if len(waits) > 0 && bytes.Contains(body, []byte("client")) {
				if !protobuf {
					waits = append(waits, '\n')
				}
				body, waits, merged = append(waits, body...), nil, true
			}
			h.Length = int64(len(body))
			frame = append(protocol.AppendHeader(nil, h), body...)
			if n%7 == 6 {
				h.Length = int64(len(ping))
				frame = append(append(protocol.AppendHeader(nil, h), ping...), frame...)
			}
			return frame
		}
		o := shortHub(s.start(t), "hub", s)
		o.conns, o.topics = 1, 1 // so that the next push is to who waits for the answer
		o.inFlight = 2
		if _, err := generate(o); err != nil {
			t.Errorf("Protobuf %v: %v", protobuf, err)
		}
		s.mu.Lock()
		if s.seen["pong"] == 0 || !merged {
			t.Errorf("Protobuf %v: %d pings were answered, shared frames: %v", protobuf, s.seen["pong"], merged)
		}
		s.mu.Unlock()
	}
}

// Each of these hubs lies, and is caught.
func TestLyingHubs(t *testing.T) {
	at := func(n int, kind string, change func(r *centrifugal.Reply)) func(int, string, *centrifugal.Reply) bool {
		return func(i int, k string, r *centrifugal.Reply) bool {
			if i == n && k == kind {
				change(r)
			}
			return true
		}
	}
	without := func(n int, kind string) func(int, string, *centrifugal.Reply) bool {
		return func(i int, k string, r *centrifugal.Reply) bool { return i != n || k != kind }
	}
	pub := func(n int, change func(p *centrifugal.Publication)) func(int, string, *centrifugal.Reply) bool {
		return at(n, "publication", func(r *centrifugal.Reply) { change(r.Push.Pub) })
	}
	const back = 8 // subscribe answers before those of who comes back
	returned := func(change func(r *centrifugal.SubscribeResult)) func(int, string, *centrifugal.Reply) bool {
		return at(back+3, "subscribe", func(r *centrifugal.Reply) { change(r.Subscribe) })
	}
	var twice bool
	for _, c := range []struct {
		name   string
		mode   string
		change func(n int, kind string, r *centrifugal.Reply) bool
		frames func(n int, frame []byte) []byte
		want   string
	}{
		{name: "connect is refused", change: at(2, "connect", func(r *centrifugal.Reply) {
			r.Connect, r.Error = nil, &centrifugal.Error{Code: 101, Message: "unauthorized"}
		}), want: "error 101"},
		{name: "no pings", change: at(2, "connect", func(r *centrifugal.Reply) { r.Connect.Ping = 0 }), want: "pings"},
		{name: "connect is answered to another", change: at(2, "connect", func(r *centrifugal.Reply) { r.Id++ }), want: "nobody asked"},
		{name: "subscribe is not answered", change: without(3, "subscribe"), want: missing},
		{name: "not recoverable", change: at(3, "subscribe", func(r *centrifugal.Reply) { r.Subscribe.Recoverable = false }), want: "history"},
		{name: "another epoch", change: at(5, "subscribe", func(r *centrifugal.Reply) { r.Subscribe.Epoch = "then" }), want: "epoch"},
		{name: "another offset", change: at(5, "subscribe", func(r *centrifugal.Reply) { r.Subscribe.Offset = 7 }), want: "offset"},
		{name: "the first data", change: pub(0, func(p *centrifugal.Publication) { p.Data = corpus(200)[3] }), want: "the data is"},
		{name: "data in the window", change: pub(late, func(p *centrifugal.Publication) { p.Data = corpus(200)[3] }), want: "the data is"},
		{name: "one byte of data", change: pub(late+1, func(p *centrifugal.Publication) {
			p.Data = bytes.Clone(p.Data)
			p.Data[100] ^= 1
		}), want: "the data is"},
		{name: "an offset", change: pub(late+2, func(p *centrifugal.Publication) { p.Offset++ }), want: "offset"},
		{name: "another publisher", change: pub(late+1, func(p *centrifugal.Publication) { p.Info.Client += "0" }), want: "want client"},
		{name: "nobody's", change: pub(late, func(p *centrifugal.Publication) { p.Info = nil }), want: "want client"},
		{name: "tags", change: pub(late+1, func(p *centrifugal.Publication) { p.Tags = map[string]string{"a": "b"} }), want: "more than"},
		{name: "an epoch of its own", change: pub(late, func(p *centrifugal.Publication) { p.Epoch = "then" }), want: "epoch"},
		{name: "another channel", change: at(late, "publication", func(r *centrifugal.Reply) { r.Push.Channel = "c77" }), want: "want channel"},
		{name: "one is missing", change: without(late, "publication"), want: ""},
		{name: "the last to be answered is not", change: func(n int, kind string, _ *centrifugal.Reply) bool {
			return kind != "publish" || n < 100
		}, want: missing},
		{name: "answered twice", change: at(20, "publish", func(r *centrifugal.Reply) { r.Id-- }), want: "not published"},
		{name: "publish is refused", change: at(20, "publish", func(r *centrifugal.Reply) {
			r.Publish, r.Error = nil, &centrifugal.Error{Code: 103}
		}), want: "error 103"},
		{name: "a join", change: at(late, "publication", func(r *centrifugal.Reply) {
			r.Push.Pub, r.Push.Join = nil, &centrifugal.Join{}
		}), want: "nobody asked"},
		{name: "a publication twice", frames: func(n int, frame []byte) []byte {
			if n > late && !twice && bytes.Contains(frame, []byte(`"pub"`)) {
				twice = true
				return append(bytes.Clone(frame), frame...)
			}
			return frame
		}, want: ""},
		{name: "binary", frames: only(late, set(0, 0x82)), want: "the frame is"},
		{name: "a fragment", frames: only(late, set(0, 0x01)), want: "the frame is"},
		{name: "masked", frames: only(late, func(frame []byte) []byte {
			return set(1, frame[1]|0x80)(frame)
		}), want: ""},
		{name: "a newline behind it", frames: only(late, func(frame []byte) []byte {
			h, n, _ := protocol.ParseHeader(frame)
			h.Length++
			return append(append(protocol.AppendHeader(nil, h), frame[n:]...), '\n')
		}), want: "after a newline"},
		{name: "closed", frames: only(late, closing), want: "connection"},
		{name: "a close frame", frames: only(late, func([]byte) []byte { return []byte{0x88, 2, 0x0b, 0xbf} }), want: "the server closed"},
		{name: "idle, one wrong", mode: "hub-idle", change: pub(3, func(p *centrifugal.Publication) { p.Offset++ }), want: "offset"},
		{name: "idle, one missing", mode: "hub-idle", change: without(3, "publication"), want: missing},

		{name: "return, not recovered", mode: "hub-return", change: returned(func(r *centrifugal.SubscribeResult) { r.Recovered = false }), want: "has not recovered"},
		{name: "return, one is missing", mode: "hub-return", change: returned(func(r *centrifugal.SubscribeResult) {
			r.Publications = r.Publications[1:]
		}), want: "recovered 4"},
		{name: "return, one too many", mode: "hub-return", change: returned(func(r *centrifugal.SubscribeResult) {
			r.Publications = append(r.Publications, r.Publications[0])
		}), want: "recovered 6"},
		{name: "return, in another order", mode: "hub-return", change: returned(func(r *centrifugal.SubscribeResult) {
			r.Publications[1], r.Publications[2] = r.Publications[2], r.Publications[1]
		}), want: "the data is"},
		{name: "return, another epoch", mode: "hub-return", change: returned(func(r *centrifugal.SubscribeResult) { r.Epoch = "then" }), want: "has not recovered"},
		{name: "return, another offset", mode: "hub-return", change: returned(func(r *centrifugal.SubscribeResult) { r.Offset = 3 }), want: "has not recovered"},
		{name: "return, never", mode: "hub-return", change: without(back+3, "subscribe"), want: missing},
		{name: "return, and one missing after it", mode: "hub-return", change: func(_ int, kind string, r *centrifugal.Reply) bool {
			return kind != "publication" || r.Push.Pub.Offset != 7 || r.Push.Channel != "c01"
		}, want: missing},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s := &hubServer{history: true, change: c.change, frames: c.frames}
			mode := c.mode
			if mode == "" {
				mode = "hub"
			}
			o := shortHub(s.start(t), mode, s)
			o.quiet = 10 * time.Second
			if c.want == missing || c.name == "one is missing" {
				o.stall = time.Second
			}
			if mode == "hub-return" && c.want == missing {
				o.stall /= 3
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
