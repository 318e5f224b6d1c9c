package centrifugal

import (
	"encoding/base64"
	"strings"
	"testing"

	cf "github.com/centrifugal/protocol"

	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
)

// Bytes of whatever kind reach clients of both formats; what is no JSON does as base64.
func TestBytes(t *testing.T) {
	n := serve(t, Config{Anonymous: true, Hub: hub.Config{Channel: everybodyMay}})
	j, p := n.client(formatJSON), n.client(formatProtobuf)
	j.subscribe(&cf.SubscribeRequest{Channel: "room"})
	p.subscribe(&cf.SubscribeRequest{Channel: "room"})
	for _, data := range []string{`{"a":1}`, "{\"a\":\n1}", `"<&>"`, "\x00\xff", "text", `{"a":`, "\"\xff\"", "1\n2", `1,"x":2`, strings.Repeat("[", 600) + strings.Repeat("]", 600), "[\"" + strings.Repeat("[", 600) + "\"]"} {
		want := `"` + base64.StdEncoding.EncodeToString([]byte(data)) + `"`
		switch data[0] {
		case '{', '"':
			if !strings.HasSuffix(data, ":") && !strings.Contains(data, "\xff") {
				want = strings.ReplaceAll(data, "\n", "")
			}
		}
		if strings.HasPrefix(data, `["`) {
			want = data
		}
		q := n.client(formatProtobuf)
		q.publish("room", data)
		got, same := j.next().Push.Pub, p.next().Push.Pub
		if string(got.Data) != want || string(same.Data) != data {
			t.Errorf("%.40q: JSON %.40q, Protobuf %.40q", data, got.Data, same.Data)
		}
		q.send(&cf.Command{Subscribe: &cf.SubscribeRequest{Channel: "room", Recover: true, Epoch: "x"}})
		if q.next().Error != nil {
			t.Error("no answer")
		}
	}
	if got := j.good(&cf.Command{History: &cf.HistoryRequest{Channel: "room", Limit: -1}}).History.Publications; len(got) != 11 {
		t.Errorf("%d publications", len(got))
	}
}

// A publication is the same in all that it comes by: a push, a history, a recovery.
func TestPublication(t *testing.T) {
	full := broker.Publication{Position: broker.Position{Offset: 7, Epoch: "e"}, Data: []byte(`1`), Tags: map[string]string{"k": "v\n"},
		Info: &broker.Info{Client: "c", User: "u", Conn: []byte("\xff"), Channel: []byte(`{"a":2}`)}}
	const pub = `{"data":1,"info":{"user":"u","client":"c","conn_info":"/w==","chan_info":{"a":2}},"offset":7,"tags":{"k":"v\n"}}`
	const info = `{"info":{"user":"u","client":"c","conn_info":"/w==","chan_info":{"a":2}}}`
	for _, c := range []struct {
		kind          uint8
		channel, want string
	}{
		{hub.KindPublication, "a", `{"push":{"channel":"a","pub":` + pub + `}}`},
		{hub.KindJoin, "a", `{"push":{"channel":"a","join":` + info + `}}`},
		{hub.KindLeave, "a", `{"push":{"channel":"a","leave":` + info + `}}`},
		{hub.KindPublication, "", `{"push":{"message":{"data":1}}}`},
	} {
		p := full
		p.Kind = c.kind
		m := encode(int(formatJSON), c.channel, &p)
		if string(m.Data) != c.want {
			t.Errorf("\n got %s\nwant %s", m.Data, c.want)
		}
		if want := c.kind == hub.KindPublication && c.channel != ""; (m.Key == c.channel) != want && c.channel != "" {
			t.Errorf("kind %d has the key %q", c.kind, m.Key)
		}
		b := encode(int(formatProtobuf), c.channel, &p)
		got := formatProtobuf.replies(t, b.Data)
		if len(got) != 1 {
			t.Fatal(show(got))
		}
		if pub := got[0].Push.GetPub(); pub != nil && (pub.Offset != 7 || string(pub.Info.ConnInfo) != "\xff" || pub.Tags["k"] != "v\n") {
			t.Error(show(got))
		}
	}
}

func TestDeeper(t *testing.T) {
	for text, deep := range map[string]int{"": 0, "1": 0, "[]": 1, `{"a":[1]}`: 2, `["[[[["]`: 1, `["\"[[["]`: 1, `["\\",[]]`: 2, "[][][]": 1, "{}\n{}": 1} {
		if deeper([]byte(text), deep) || deep > 0 && !deeper([]byte(text), deep-1) {
			t.Errorf("%s is not nested %d deep", text, deep)
		}
	}
}

// Several answers in one message are told apart.
func TestAppend(t *testing.T) {
	for f := range formats {
		var frame []byte
		for id := range uint32(3) {
			frame = f.append(frame, &cf.Reply{Id: id + 1, Publish: &cf.PublishResult{}})
		}
		if got := f.replies(t, frame); len(got) != 3 || got[2].Id != 3 || got[2].Publish == nil {
			t.Errorf("%d: %q", f, frame)
		}
	}
	if got := string(formatJSON.ping()); got != "{}" {
		t.Error(got)
	}
	if got := string(formatProtobuf.ping()); got != "\x00" {
		t.Errorf("%q", got)
	}
}
