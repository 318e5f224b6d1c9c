package codec_test

import (
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// FuzzDeflateSession is FuzzSession for a server that agreed to one of some
// offers of compression and answers each message with itself: its frames must
// inflate, within the agreed window, to what it received.
func FuzzDeflateSession(f *testing.F) {
	offers := []struct {
		value  string
		strict strict
	}{
		{"permessage-deflate", strict{window: 1 << 15, takeover: true}},
		{"permessage-deflate; server_max_window_bits=8; client_max_window_bits=8", strict{window: 1 << 8, takeover: true}},
		{"permessage-deflate; server_no_context_takeover; client_no_context_takeover", strict{window: 1 << 15}},
		{"permessage-deflate; server_max_window_bits=9; server_no_context_takeover", strict{window: 1 << 9}},
	}
	f.Fuzz(func(t *testing.T, in []byte, offer byte, cuts uint64) {
		d, p, chosen := all(), &purse{left: 1 << 17}, offers[int(offer)%len(offers)]
		d.Budget = p
		o := with(tight(codec.Server), d)
		o.MessageBytesMax = 700
		var want result
		for i, c := range []cut{whole, bytewise, randomly(cuts)} {
			x, z := openDeflate(t, o, chosen.value), chosen.strict
			x.onEvent = func(ev codec.Event) {
				if ev.Kind == codec.Message {
					echoes(t, x, &z, ev)
				}
			}
			got := play(x, string(in), c)
			if i == 0 {
				want = got
			}
			if got != want {
				t.Fatalf("%s: %q\nwhole: %+v\ncut:   %+v", chosen.value, in, want, got)
			}
			if p.left != 1<<17 {
				t.Fatalf("%d bytes of the budget are gone", 1<<17-p.left)
			}
		}
	})
}

// echoes sends a message back and checks the frame.
func echoes(t *testing.T, x *side, z *strict, ev codec.Event) {
	begin := len(x.env.Out)
	x.send(ev.Opcode, string(ev.Data))
	headers, list := payloads(t, append([]byte(nil), x.env.Out[begin:]...))
	if headers[0].Rsv == protocol.Rsv1 {
		var err error
		if list[0], err = z.message(list[0]); err != nil {
			t.Fatal(err)
		}
	}
	if list[0] != string(ev.Data) {
		t.Fatalf("%q came back as %q", ev.Data, list[0])
	}
}
