package codec_test

import (
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// tight limits are within reach of short inputs: Go minimizes long ones for ever.
func tight(r codec.Role) codec.Options {
	return codec.Options{
		Role: r, HandshakeBytesMax: 400, HeaderFieldsMax: 12, MessageBytesMax: 200, FragmentsMax: 5,
		Host: "a", Target: "/", Subprotocols: []string{"v2", "v1"},
	}
}

// FuzzSession feeds a server whatever comes: a handshake and frames, or, if
// opened, frames behind a valid handshake. The program closes after so many
// events, if not 0. Beyond what side checks (errors are typed, buffers come
// back, replies are well-formed frames …), the events, the replies and the
// state do not depend on how the input was cut.
func FuzzSession(f *testing.F) {
	f.Fuzz(func(t *testing.T, in []byte, opened bool, cuts uint64, closeAfter uint8) {
		input := string(in)
		if opened {
			input = handshake + input
		}
		fuzz(t, codec.Server, input, cuts, closeAfter)
	})
}

// FuzzClientSession is the same for a client: the server's answer and frames,
// or, if opened, frames behind a valid answer.
func FuzzClientSession(f *testing.F) {
	request := newSide(f, tight(codec.Client)).env.Out
	var r protocol.Request
	if err := r.Parse(string(request), 12); err != nil {
		f.Fatal(err)
	}
	answer := string(protocol.AppendSwitchingProtocols(nil, r.Fields.Get("Sec-WebSocket-Key"), "v1", "", nil))
	f.Fuzz(func(t *testing.T, in []byte, opened bool, cuts uint64, closeAfter uint8) {
		input := string(in)
		if opened {
			input = answer + input
		}
		fuzz(t, codec.Client, input, cuts, closeAfter)
	})
}

func fuzz(t *testing.T, r codec.Role, input string, cuts uint64, closeAfter uint8) {
	fresh := func() *side {
		x := newSide(t, tight(r))
		events := uint8(0)
		x.onEvent = func(codec.Event) {
			if events++; events == closeAfter && !x.gone {
				x.shut(protocol.CloseGoingAway, "enough")
			}
		}
		return x
	}
	want := play(fresh(), input, whole)
	if strings.Count(want.log, "> close") > 1 {
		t.Fatalf("%q\nmore than one close frame: %s", input, want.log)
	}
	for _, c := range []cut{bytewise, randomly(cuts)} {
		if got := play(fresh(), input, c); got != want {
			t.Fatalf("%q\nwhole: %+v\ncut:   %+v", input, want, got)
		}
	}
}
