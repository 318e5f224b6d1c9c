package centrifugal

import (
	"bytes"
	"fmt"
	"runtime"
	"strings"
	"testing"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
)

// bystander is a client in a channel, which has to see nothing of what others do wrong.
func (n *node) bystander() *peer {
	n.t.Helper()
	p := n.client(formatJSON)
	p.subscribe(&cf.SubscribeRequest{Channel: "room"})
	return p
}

// unharmed expects that a bystander has got nothing, that nothing was published, and that all works as before.
func (n *node) unharmed(p *peer) {
	n.t.Helper()
	p.quiet()
	if got := n.say("room", `"fine"`).Offset; got != 1 {
		n.t.Errorf("%d publications before this one", got-1)
	}
	p.expect(`room: 1 "fine"`)
}

var (
	pubRoom = &cf.Command{Id: 1, Publish: &cf.PublishRequest{Channel: "room", Data: cf.Raw(`"bad"`)}}
	subRoom = &cf.Command{Id: 1, Subscribe: &cf.SubscribeRequest{Channel: "room"}}
)

func everybodyMay(string) (hub.Options, error) {
	o := open()
	o.Publish, o.JoinLeave = hub.Everybody, false
	return o, nil
}

func TestMalformedFrames(t *testing.T) {
	good := string(formatJSON.frame(pubRoom))
	nested := func(n int) string {
		return `{"id":1,"publish":{"channel":"room","data":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}}`
	}
	json := []string{
		"", " ", "\n", "x", "{", "[]", "1", `"x"`, "{}{}", "{}\n\n", good + "\n\n" + good, good + "\nx", good + "\n" + good[:len(good)-1],
		good + good, good[:20], `{"id":-1,"publish":{"channel":"room","data":1}}`, `{"id":1.5,"publish":{"channel":"room","data":1}}`,
		`{"id":"1","publish":{"channel":"room","data":1}}`, `{"id":4294967296,"publish":{"channel":"room","data":1}}`,
		`{"id":1,"publish":[]}`, `{"id":1,"publish":"x"}`, `{"id":1,"publish":{"channel":7,"data":1}}`, `{"id":1,"publish":{"channel":"room","data":}}`,
		`{"id":1,"publish":{"channel":"room","data":{"a":1}`, `{"id":1,"publish":{"channel":"room","data":nul}}`, `{"id":1,"id":2,"publish":{"channel":"room","data":1}}`,
		`{"id":1,"publish":{"channel":"\u00","data":1}}`, `{"id":1,"publish":{"channel":"room","data":1},}`, `{"id":1 "publish":{"channel":"room","data":1}}`,
		nested(nestingMax - 1), nested(10_000), strings.Repeat("[", 10_000), strings.Repeat(`{"id":1,"publish":{"channel":"room","data":`, 10_000),
	}
	valid := formatProtobuf.frame(pubRoom)
	protobuf := []string{
		"", "\x80", "\x00\x80", "\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "\xff\xff\xff\xff\xff\xff\xff\xff\x7f" + string(valid[1:]),
		string(valid) + "\x05", string(valid) + string(valid[:9]), "\x02\x08\x80", "\x02\x3a\x05", "\x03\x3a\x02\x0a", "\x01\x07", good, "{}",
	}
	for i := 1; i < len(valid); i++ {
		protobuf = append(protobuf, string(valid[:i]), fmt.Sprintf("%c%s", i, valid[1:i])) // cut short, and with a length that says so
	}
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, FrameBytesMax: 1 << 20, Hub: hub.Config{Channel: everybodyMay}})
		by := n.bystander()
		frames := json
		if f == formatProtobuf {
			frames = protobuf
		}
		for _, frame := range frames {
			for _, p := range []*peer{n.client(f), n.dial(f)} {
				p.write([]byte(frame))
				e := wait(t, p.closed, "the close")
				if e.Code != 3501 || e.Reason != "bad request" {
					t.Errorf("%.60q: closed with %d %s", frame, e.Code, e.Reason)
				}
				if len(p.frames) > 0 {
					t.Errorf("%.60q: answered %q", frame, <-p.frames)
				}
			}
		}
		n.unharmed(by)
	})
}

func TestNestingThatIsTaken(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: everybodyMay}})
	by := n.bystander()
	levels := nestingMax - 2 // the command and publish are two
	deep := strings.Repeat("[", levels) + strings.Repeat("]", levels)
	n.client(formatJSON).publish("room", deep)
	by.expect("room: 1 " + deep)
}

func TestWrongCommands(t *testing.T) {
	id := uint32(9)
	for _, c := range []struct {
		name  string
		fresh bool // before the client has connected
		send  []*cf.Command
		want  Disconnect
	}{
		{"before connect: publish", true, []*cf.Command{pubRoom}, DisconnectBadRequest},
		{"before connect: subscribe", true, []*cf.Command{subRoom}, DisconnectBadRequest},
		{"before connect: unsubscribe", true, []*cf.Command{{Id: id, Unsubscribe: &cf.UnsubscribeRequest{Channel: "room"}}}, DisconnectBadRequest},
		{"before connect: presence", true, []*cf.Command{{Id: id, Presence: &cf.PresenceRequest{Channel: "room"}}}, DisconnectBadRequest},
		{"before connect: presence_stats", true, []*cf.Command{{Id: id, PresenceStats: &cf.PresenceStatsRequest{Channel: "room"}}}, DisconnectBadRequest},
		{"before connect: history", true, []*cf.Command{{Id: id, History: &cf.HistoryRequest{Channel: "room"}}}, DisconnectBadRequest},
		{"before connect: rpc", true, []*cf.Command{{Id: id, Rpc: &cf.RPCRequest{}}}, DisconnectBadRequest},
		{"before connect: send", true, []*cf.Command{{Send: &cf.SendRequest{Data: cf.Raw("1")}}}, DisconnectBadRequest},
		{"before connect: refresh", true, []*cf.Command{{Id: id, Refresh: &cf.RefreshRequest{}}}, DisconnectBadRequest},
		{"before connect: sub_refresh", true, []*cf.Command{{Id: id, SubRefresh: &cf.SubRefreshRequest{}}}, DisconnectBadRequest},
		{"before connect: nothing", true, []*cf.Command{{Id: id}}, DisconnectBadRequest},
		{"before connect: a pong", true, []*cf.Command{{}}, DisconnectBadRequest},
		{"connect behind publish", true, []*cf.Command{pubRoom, {Id: id, Connect: &cf.ConnectRequest{}}}, DisconnectBadRequest},
		{"connect without an id", true, []*cf.Command{{Connect: &cf.ConnectRequest{}}}, DisconnectBadRequest},
		{"connect twice", false, []*cf.Command{{Id: id, Connect: &cf.ConnectRequest{}}, pubRoom}, DisconnectBadRequest},
		{"publish without an id", false, []*cf.Command{{Publish: pubRoom.Publish}, pubRoom}, DisconnectBadRequest},
		{"subscribe without an id", false, []*cf.Command{{Subscribe: subRoom.Subscribe}, pubRoom}, DisconnectBadRequest},
		{"a pong that nobody asked for", false, []*cf.Command{{}}, DisconnectBadRequest},
		{"such a pong among others", false, []*cf.Command{{Id: id, Ping: &cf.PingRequest{}}, {}, pubRoom}, DisconnectBadRequest},
		{"send", false, []*cf.Command{{Send: &cf.SendRequest{}}, pubRoom}, DisconnectNotAvailable},
		{"subscribe to nothing", false, []*cf.Command{{Id: id, Subscribe: &cf.SubscribeRequest{}}, pubRoom}, DisconnectBadRequest},
		{"unsubscribe from nothing", false, []*cf.Command{{Id: id, Unsubscribe: &cf.UnsubscribeRequest{}}, pubRoom}, DisconnectBadRequest},
		{"publish to nothing", false, []*cf.Command{{Id: id, Publish: &cf.PublishRequest{Data: cf.Raw("1")}}, pubRoom}, DisconnectBadRequest},
		{"presence of nothing", false, []*cf.Command{{Id: id, Presence: &cf.PresenceRequest{}}, pubRoom}, DisconnectBadRequest},
		{"presence_stats of nothing", false, []*cf.Command{{Id: id, PresenceStats: &cf.PresenceStatsRequest{}}, pubRoom}, DisconnectBadRequest},
		{"history of nothing", false, []*cf.Command{{Id: id, History: &cf.HistoryRequest{}}, pubRoom}, DisconnectBadRequest},
		{"sub_refresh of nothing", false, []*cf.Command{{Id: id, SubRefresh: &cf.SubRefreshRequest{}}, pubRoom}, DisconnectBadRequest},
		{"a token for nobody", true, []*cf.Command{{Id: id, Connect: &cf.ConnectRequest{Token: "x"}}, pubRoom}, DisconnectInvalidToken},
	} {
		t.Run(c.name, func(t *testing.T) {
			both(t, func(t *testing.T, f format) {
				n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: everybodyMay}})
				by := n.bystander()
				p := n.dial(f)
				if !c.fresh {
					p.connect(&cf.ConnectRequest{})
				}
				p.write(f.frame(c.send...))
				p.over(c.want)
				n.unharmed(by)
			})
		})
	}
}

func TestWrongTypeOfMessage(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: everybodyMay}})
		by := n.bystander()
		for _, p := range []*peer{n.client(f), n.dial(f)} {
			must(t, p.conn.Send((1 - f).message(f.frame(pubRoom))))
			p.over(DisconnectBadRequest)
		}
		n.unharmed(by)
	})
}

func TestFrameTooLong(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, FrameBytesMax: 300, Hub: hub.Config{Channel: everybodyMay}})
		by := n.bystander()
		p := n.client(f)
		p.write(f.frame(&cf.Command{Id: 1, Publish: &cf.PublishRequest{Channel: "room", Data: cf.Raw(`"` + strings.Repeat("x", 300) + `"`)}}))
		p.over(disconnectFrameBytes)
		n.unharmed(by)
	})
}

// allocated returns how many bytes f allocates, whoever does.
func allocated(f func()) uint64 {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return after.TotalAlloc - before.TotalAlloc
}

func TestManyCommands(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, FrameBytesMax: 8 << 20, CommandsPerFrameMax: 100, CommandsPerSecondMax: engine.NoLimit, Hub: hub.Config{Channel: everybodyMay}})
		by := n.bystander()
		one := f.frame(pubRoom)
		if f == formatJSON {
			one = append(one, '\n')
		}
		hundred, more := bytes.Repeat(one, 100), bytes.Repeat(one, 100_000)
		p, q, r := n.client(f), n.client(f), n.client(f)
		used := allocated(func() {
			p.write(more)
			p.over(DisconnectBadRequest)
		})
		if most := uint64(8*len(more) + 1<<20); used > most { // the buffers of the message on its way from one end to the other
			t.Errorf("%d bytes were allocated for a message of %d", used, len(more))
		}
		q.write(append(hundred[:len(hundred):len(hundred)], one...))
		q.over(DisconnectBadRequest)
		s := n.client(f)
		s.write(bytes.TrimSuffix(append(hundred[:len(hundred):len(hundred)], one...), []byte{'\n'}))
		s.over(DisconnectBadRequest)
		n.unharmed(by)
		r.write(hundred)
		for range 100 {
			if got := r.next(); got.Publish == nil {
				t.Fatal(show(got))
			}
		}
	})
}

func TestRates(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true, CommandsPerSecondMax: 3})
		p := n.client(f)
		ping := func() *cf.Command { return &cf.Command{Ping: &cf.PingRequest{}} }
		for _, code := range []uint32{108, 108, 111, 111, 111} { // connect was the first
			if r := p.ask(ping()); r.Error.GetCode() != code || r.Error.Temporary != (code == 111) {
				t.Fatalf("%s, want error %d", show(r), code)
			}
		}
		n.advance(1e9)
		for _, code := range []uint32{108, 108, 108, 111, 111, 111} {
			if r := p.ask(ping()); r.Error.GetCode() != code {
				t.Fatalf("%s, want error %d", show(r), code)
			}
		}
		p.send(ping())
		p.over(DisconnectTooManyRequests)

		q := n.client(f)
		for range 2 {
			q.ask(ping())
		}
		q.send(&cf.Command{Send: &cf.SendRequest{}})
		q.over(DisconnectTooManyRequests)
	})
}

func TestIDs(t *testing.T) {
	both(t, func(t *testing.T, f format) {
		n := serve(t, Config{Anonymous: true})
		p := n.client(f)
		for _, id := range []uint32{5, 5, 1, 1<<32 - 1} { // they are the client's: the answer has the same
			if r := p.ask(&cf.Command{Id: id, Ping: &cf.PingRequest{}}); r.Id != id {
				t.Errorf("%s, want id %d", show(r), id)
			}
		}
		r := p.good(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "a"}, Publish: &cf.PublishRequest{Channel: "b", Data: cf.Raw("1")}})
		if r.Subscribe == nil || r.Publish != nil {
			t.Errorf("%s: only the first of two requests counts", show(r))
		}
	})
}

// A name that is no UTF-8 would reach clients of JSON, in a message that their WebSocket does not take.
func TestNamesAreUTF8(t *testing.T) {
	n := serve(t, Config{Anonymous: true})
	for _, name := range []string{"\xff", "a\xc0\x80", "\xed\xa0\x80"} {
		p := n.client(formatProtobuf)
		p.send(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: name}})
		p.over(DisconnectBadRequest)
	}
	n.client(formatProtobuf).subscribe(&cf.SubscribeRequest{Channel: "комната 1 ☺"})
}
