package hub

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// A reader that is too slow gets the latest of each Key, which Encode gives to the message: in channels whose options say so,
// where the message says so, to users and to all. In a channel with a history it is closed all the same, with the code of its listener.
func TestReplaceByKey(t *testing.T) {
	n := startWith(t, engine.Config{SlowCode: 3008, SendBytesMax: 1 << 20}, Config{
		Channel: func(name string) (Options, error) {
			o := Options{Policy: engine.PolicyReplace}
			switch name {
			case "kept":
				o.History = 10
			case "message":
				o.Policy = 0
			}
			return o, nil
		},
		Encode: func(_ int, channel string, p *broker.Publication) engine.Message {
			m := engine.Message{Type: engine.Text, Data: p.Data, Key: p.Tags["key"]}
			if channel == "message" || channel == "" {
				m.Policy = engine.PolicyReplace
			}
			return m
		},
	})
	pad := strings.Repeat("x", 128<<10)
	for _, channel := range []string{"options", "message", "user", "all", "kept"} {
		t.Run(channel, func(t *testing.T) {
			a, reader := n.client("anna"), n.client("reader")
			for _, c := range []*peerConn{a, reader} {
				if channel != "user" && channel != "all" {
					_, err := n.Join(ctx, c.Client, channel, Join{})
					must(t, err)
				}
			}
			far := <-a.far
			must(t, far.PauseReading())
			const keys = 3
			last := map[string]string{}
			for i := range 90 {
				key := fmt.Sprint("key ", i%keys)
				last[key] = fmt.Sprint(key, " ", i, pad)
				p := Publication{Data: []byte(last[key]), Tags: map[string]string{"key": key}}
				var err error
				switch channel {
				case "user":
					err = n.PublishUsers(ctx, []string{"anna", "reader"}, p)
				case "all":
					err = n.PublishTo(ctx, everyone, p)
				default:
					_, err = n.Publish(ctx, channel, p)
				}
				must(t, err)
				reader.expect(last[key]) // who reads gets all
			}
			if channel == "kept" {
				until(t, "the close", func() bool { return a.Conn().Stats().Dropped > 0 })
				must(t, far.ResumeReading())
				if e := wait(t, a.over, "the end"); e.Code != 3008 {
					t.Errorf("closed with %v", e)
				}
				return
			}
			until(t, "all that is replaced", func() bool { return a.Conn().Stats().Replaced > 0 && a.Conn().QueuedBytes() < 1<<20 })
			must(t, far.ResumeReading())
			must(t, a.Conn().SendText("mark"))
			got, number := map[string]string{}, 0
			for s := wait(t, a.got, "it"); s != "mark"; s = wait(t, a.got, "it") {
				got[s[:len("key 0")]] = s
				number++
			}
			for key, want := range last {
				if got[key] != want {
					t.Errorf("of %s the last is %.20q, want %.20q", key, got[key], want)
				}
			}
			if st := a.Conn().Stats(); number >= 90 || uint64(number)+st.Replaced != 90 || st.Dropped > 0 {
				t.Errorf("got %d, %+v", number, st)
			}
			must(t, far.Abort())
			must(t, (<-reader.far).Abort())
		})
	}
}
