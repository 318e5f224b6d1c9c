package codec_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

func code(n int) string { return string(binary.BigEndian.AppendUint16(nil, uint16(n))) }

// The close frame is echoed byte for byte, but for the reason, and the end.
func TestRFC6455Section5_5_1_Echo(t *testing.T) {
	for _, tt := range []struct{ payload, want, reply string }{
		{"", `closed 1005 ""; > close`, ""},
		{code(1000), `closed 1000 ""; > close 1000`, code(1000)},
		{code(1001) + "moving on", `closed 1001 "moving on"; > close 1001`, code(1001)},
		{code(3000) + "grüße", `closed 3000 "grüße"; > close 3000`, code(3000)},
		{code(4999) + strings.Repeat("x", 123), `closed 4999 "` + strings.Repeat("x", 123) + `"; > close 4999`, code(4999)},
	} {
		in := frame(0x88, tt.payload)
		wants(t, limits(), in, tt.want)
		wants(t, limits(), in+frame(0x89, "late")+frame(0x81, "late")+in+"\xff\xff", tt.want) // the rest is ignored

		x := openServer(t, limits())
		x.env.Out, x.read = nil, 0
		if r := play(x, in, whole); r.out != bare(0x88, tt.reply) || r.state != codec.StateClosed {
			t.Errorf("%q answered with %q in state %d", tt.payload, r.out, r.state)
		}
	}
}

func TestRFC6455Section7_4_CloseCodes(t *testing.T) {
	for _, n := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		x := openServer(t, limits())
		x.feed(frame(0x88, code(n)))
		if e := x.close; e == nil || int(e.Code) != n || !e.Remote {
			t.Errorf("%d: %v", n, e)
		}
	}
	for _, n := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		violates(t, limits(), "", frame(0x88, code(n)), 8, "1002")
	}
}

func TestRFC6455Section5_5_1_Violations(t *testing.T) {
	violates(t, limits(), "", frame(0x88, "\x03"), 7, "1002")
	violates(t, limits(), "", frame(0x88, code(1000)+"\xff"), 9, "1007")
	violates(t, limits(), "", frame(0x88, code(1000)+"\xe2\x82"), 10, "1007")
	violates(t, limits(), frame(0x01, "a"), frame(0x88, code(1000)+"\xc0\x80"), 10, "1007")
}

// closing calls Close when the first event comes, then feeds the rest.
func closing(t *testing.T) *side {
	x := openServer(t, limits())
	x.onEvent = func(codec.Event) {
		if x.s.State() == codec.StateOpen && !x.shut(protocol.CloseGoingAway, "bye") {
			t.Error("Close does not await the answer")
		}
	}
	return x
}

// After Close only the peer's close frame counts, and violations: frames are
// read, none is delivered, nothing is answered.
func TestRFC6455Section7_1_2_Closing(t *testing.T) {
	for _, tt := range []struct {
		in, want string
		state    codec.State
	}{
		{"", "", codec.StateClosing},
		{frame(0x81, "late") + frame(0x82, "late") + frame(0x89, "late") + frame(0x8a, "late"), "", codec.StateClosing},
		{frame(0x01, "late") + frame(0x89, "late") + frame(0x00, "r") + frame(0x80, ""), "", codec.StateClosing},
		{frame(0x81, "\xff") + frame(0x01, "\xff") + frame(0x80, "\xff"), "", codec.StateClosing},
		{frame(0x82, text(20_000)), "", codec.StateClosing},
		{frame(0x88, code(1001)), `; closed 1001 ""`, codec.StateClosed},
		{frame(0x81, "late") + frame(0x88, "") + frame(0x81, "later"), `; closed 1005 ""`, codec.StateClosed},
		{frame(0x01, "late") + frame(0x88, code(1000)+"thanks"), `; closed 1000 "thanks"`, codec.StateClosed},
		{bare(0x81, "x"), "; violation 1002", codec.StateClosed},
		{frame(0x80, "x"), "; violation 1002", codec.StateClosed},
		{frame(0x88, "x"), "; violation 1002", codec.StateClosed},
		{frame(0x88, code(1000)+"\xff"), "; violation 1007", codec.StateClosed},
		{frame(0x02, "") + strings.Repeat(frame(0x00, ""), 8), "; violation 1009", codec.StateClosed},
	} {
		for first, event := range map[string]string{
			frame(0x89, ""): `ping ""; > pong ""; > close 1001`,
			frame(0x81, "last") + frame(0x8a, "") + frame(0x81, ""): `text "last"; > close 1001`,
			frame(0x01, "") + frame(0x00, "l") + frame(0x80, "ast"): `text "last"; > close 1001`,
		} {
			r := verdict(t, func() *side { return closing(t) }, first+tt.in)
			if r.log != event+tt.want || r.state != tt.state {
				t.Errorf("%.60q: %s in state %d", tt.in, r.log, r.state)
			}
		}
	}
}

// Close called in the middle of a message, of a frame, of a header: the frame
// is read to its end, so that the peer's close frame behind it is found.
func TestRFC6455Section7_1_2_CloseInTheMiddle(t *testing.T) {
	in := frame(0x01, "frag") + frame(0x89, "ping") + frame(0x80, text(200)) + frame(0x8a, "pong") + frame(0x88, code(1000))
	for n := range len(in) + 1 {
		for _, c := range []cut{whole, bytewise} {
			x := openServer(t, limits())
			x.feedCut(in[:n], c)
			events := len(x.log)
			awaits := x.s.State() == codec.StateOpen
			if got := x.shut(protocol.CloseNormal, ""); got != awaits {
				t.Fatalf("Close after %d bytes: %v", n, got)
			}
			r := play(x, in[n:], c)
			want := `> close 1000; closed 1000 ""`
			if !awaits {
				want = ""
			}
			if got := strings.Join(x.log[events:], "; "); got != want || r.state != codec.StateClosed {
				t.Errorf("Close after %d bytes: %s", n, got)
			}
		}
	}
}

func TestRFC6455Section7_1_2_CloseFrame(t *testing.T) {
	for _, tt := range []struct {
		code   protocol.CloseCode
		reason string
		wire   string
	}{
		{protocol.CloseNormal, "", code(1000)},
		{4000, "kicked", code(4000) + "kicked"},
		{protocol.CloseNoStatus, "not sent", ""},
		{protocol.CloseAbnormal, "", ""},
		{protocol.CloseGoingAway, strings.Repeat("ü", 100), code(1001) + strings.Repeat("ü", 61)},
		{protocol.CloseGoingAway, "\xff", code(1001) + "\ufffd"},
	} {
		x := openServer(t, limits())
		x.env.Out, x.read = nil, 0
		for range 2 { // the second call waits with the first
			if !x.shut(tt.code, tt.reason) {
				t.Errorf("%d: Close does not await the answer", tt.code)
			}
		}
		if got := string(x.env.Out); got != bare(0x88, tt.wire) {
			t.Errorf("%d %q: %q on the wire", tt.code, tt.reason, got)
		}
	}
}
