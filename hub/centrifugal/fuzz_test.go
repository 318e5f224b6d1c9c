package centrifugal

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	cf "github.com/centrifugal/protocol"
	"github.com/golang-jwt/jwt/v5"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/protocol"
)

// frameEnd is between the frames of an input.
var frameEnd = []byte("\x1e")

func FuzzJSON(f *testing.F)     { fuzz(f, formatJSON) }
func FuzzProtobuf(f *testing.F) { fuzz(f, formatProtobuf) }

// fuzz sends frames to a session, behind a connect command and, with fresh, in place of it. Whatever they are, each message that
// comes back is made of replies, the connection is open or was closed with a code that stands for it, and
// another client can go on.
func fuzz(f *testing.F, of format) {
	n := serve(f, Config{Anonymous: true, Tokens: tokens(f), PingInterval: engine.NoLimit, CommandsPerSecondMax: 50, CommandsPerFrameMax: 40, FrameBytesMax: 4 << 10, ReplyBytesMax: 64 << 10,
		OnSend: func(context.Context, *hub.Client, []byte) error { return nil },
		Hub: hub.Config{Channel: fuzzOptions, RecoverMax: 20, ChannelsPerClientMax: 4, Hooks: hub.Hooks{
			RPC: func(_ context.Context, _ *hub.Client, _ string, data []byte) ([]byte, error) { return data, nil },
		}}})
	for _, seed := range seeds(of) {
		f.Add(false, seed)
		f.Add(true, seed)
	}
	by := n.client(formatJSON)
	by.subscribe(&cf.SubscribeRequest{Channel: "room"})
	f.Fuzz(func(t *testing.T, fresh bool, input []byte) {
		by.t, n.t = t, t
		n.move(time.Second) // or the clients would be too fast
		p := n.dial(of)
		frames := bytes.Split(input, frameEnd)
		if !fresh {
			frames = slices.Insert(frames, 0, of.frame(&cf.Command{Id: 1, Connect: &cf.ConnectRequest{}}))
		}
		for _, frame := range frames[:min(len(frames), 20)] {
			if p.conn.Send(of.message(frame)) != nil {
				break // it is closed
			}
		}
		p.last(t)
		by.publishAmong(t, "room", `"still there"`)
		_ = p.conn.Abort()
		_ = wait(t, p.closed, "the end")
	})
}

// mark is the id of a command that comes last.
const mark = 1<<32 - 2

// last reads all that comes, up to the answer to a last command, or to the close.
func (p *peer) last(t *testing.T) {
	_ = p.conn.Send(p.f.message(p.f.frame(&cf.Command{Id: mark, Ping: &cf.PingRequest{}})))
	for {
		select {
		case frame := <-p.frames:
			if slices.ContainsFunc(p.f.checked(t, frame), func(r *cf.Reply) bool { return r.Id == mark && (r.Error.GetCode() == 108 || r.Error.GetCode() == 111) }) {
				return
			}
		case e := <-p.closed:
			p.closed <- e
			codes := []protocol.CloseCode{protocol.CloseInvalidPayload, protocol.CloseMessageTooBig, DisconnectBadRequest.Code, DisconnectTooManyRequests.Code,
				DisconnectInvalidToken.Code, DisconnectExpired.Code, DisconnectSubExpired.Code, DisconnectSlow.Code}
			if !slices.Contains(codes, e.Code) {
				t.Fatalf("closed with %d %s %v", e.Code, e.Reason, e.Err)
			}
			return
		}
	}
}

// checked decodes a message from the server, which must be made of replies.
func (f format) checked(t *testing.T, frame []byte) []*cf.Reply {
	t.Helper()
	all := f.replies(t, frame)
	if f == formatJSON {
		lines := bytes.Split(frame, []byte("\n"))
		for _, line := range lines {
			if !json.Valid(line) {
				t.Fatalf("no JSON: %q", line)
			}
		}
		if len(lines) != len(all) {
			t.Fatalf("%d lines with %d replies: %q", len(lines), len(all), frame)
		}
	}
	return all
}

// publishAmong publishes, and reads all that has been published meanwhile.
func (p *peer) publishAmong(t *testing.T, channel, data string) {
	t.Helper()
	p.send(&cf.Command{Publish: &cf.PublishRequest{Channel: channel, Data: cf.Raw(data)}})
	for done := 0; done < 2; {
		for _, r := range p.f.checked(t, wait(t, p.frames, "the publication")) {
			switch {
			case r.Id == p.id && r.Error == nil, r.Push.GetPub() != nil && string(r.Push.Pub.Data) == data && r.Push.Pub.Info.GetClient() == p.client:
				done++
			case r.Error != nil:
				t.Fatal(show(r))
			}
		}
	}
}

func fuzzOptions(name string) (hub.Options, error) {
	if strings.HasPrefix(name, "no") {
		return hub.Options{}, hub.ErrUnknownChannel
	}
	o := open()
	o.History, o.Publish, o.ReadHistory, o.ReadPresence, o.Latest = 5, hub.Everybody, hub.Everybody, hub.Everybody, strings.HasPrefix(name, "l")
	return o, nil
}

// seeds are inputs for the fuzzer: each kind of command, and what is nearly one.
func seeds(f format) (all [][]byte) {
	sub := &cf.SubscribeRequest{Channel: "room", Recover: true, Offset: 1, Epoch: "x", Data: cf.Raw("1"), Flag: 3, JoinLeave: true, Positioned: true, Delta: "fossil"}
	pub := &cf.PublishRequest{Channel: "room", Data: cf.Raw(`{"a":[1,2]}`)}
	token := sign(jwt.MapClaims{"sub": "", "channel": "$a"})
	commands := []*cf.Command{
		{Connect: &cf.ConnectRequest{Token: "x", Name: "n", Version: "v", Data: cf.Raw("1"), Headers: map[string]string{"a": "b"}, Subs: map[string]*cf.SubscribeRequest{"room": sub}}},
		{Subscribe: sub}, {Publish: pub}, {Unsubscribe: &cf.UnsubscribeRequest{Channel: "room"}}, {Presence: &cf.PresenceRequest{Channel: "room"}},
		{PresenceStats: &cf.PresenceStatsRequest{Channel: "room"}}, {History: &cf.HistoryRequest{Channel: "room", Limit: -1, Reverse: true, Since: &cf.StreamPosition{Offset: 5}}},
		{History: &cf.HistoryRequest{Channel: "l", Limit: 1e9}}, {Rpc: &cf.RPCRequest{Method: "m", Data: cf.Raw(`"x"`)}}, {Send: &cf.SendRequest{Data: cf.Raw("[]")}},
		{Refresh: &cf.RefreshRequest{Token: "x"}}, {Subscribe: &cf.SubscribeRequest{Channel: "$a", Token: token}}, {SubRefresh: &cf.SubRefreshRequest{Channel: "$a", Token: token}},
		{Subscribe: &cf.SubscribeRequest{Channel: "no", Type: 1, Tf: &cf.FilterNode{Op: "and", Nodes: []*cf.FilterNode{{Key: "a", Cmp: "eq", Val: "b"}}}}},
		{Ping: &cf.PingRequest{}}, {Subscribe: &cf.SubscribeRequest{Channel: "r#1,2"}}, {Id: 7}, {},
	}
	for i, c := range commands {
		if c.Id == 0 && i < len(commands)-1 && c.Send == nil {
			c.Id = uint32(i + 2)
		}
		all = append(all, f.frame(c))
	}
	all = append(all, f.frame(commands[1:6]...), bytes.Join([][]byte{f.frame(commands[1]), f.frame(commands[2], commands[3]), f.frame(commands[17])}, frameEnd),
		bytes.Repeat(f.frame(commands[1], commands[2]), 30), all[1][:len(all[1])/2], nil, []byte("{"), []byte(strings.Repeat("[", 600)), []byte("\x80\x80"), []byte("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"))
	return all
}
