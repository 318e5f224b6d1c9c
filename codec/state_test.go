package codec_test

import (
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// panics reports whether f does.
func panics(f func()) (panicked bool) {
	defer func() { panicked = recover() != nil }()
	f()
	return false
}

// The arrows, one by one: there is no other.
func TestStateArrows(t *testing.T) {
	allowed := map[[2]codec.State]bool{
		{codec.StateOpening, codec.StateOpen}:   true,
		{codec.StateOpening, codec.StateClosed}: true,
		{codec.StateOpen, codec.StateClosing}:   true,
		{codec.StateOpen, codec.StateClosed}:    true,
		{codec.StateClosing, codec.StateClosed}: true,
	}
	o := limits()
	for from := codec.StateOpening; from <= codec.StateClosed; from++ {
		for to := codec.StateOpening; to <= codec.StateClosed; to++ {
			s := codec.NewSessionIn(&o, from)
			panicked := panics(func() { s.To(newEnv(), to) })
			want := from
			if allowed[[2]codec.State{from, to}] {
				want = to
			}
			if panicked != (want == from) || s.State() != want {
				t.Errorf("%d to %d: state %d, panicked: %v", from, to, s.State(), panicked)
			}
		}
	}
}

// The table at State, line by line; and that calls which it does not have
// panic before they say anything false to the peer.
func TestStateTable(t *testing.T) {
	steps := map[string]func(x *side){
		"upgrade":   func(x *side) { x.feed(handshake) },
		"plain":     func(x *side) { x.feed(head("GET / HTTP/1.1", host)) },
		"malformed": func(x *side) { x.feed("\x16\x03\x01") },
		"accept":    func(x *side) { x.accept() },
		"refuse":    func(x *side) { x.s.Refuse(x.env, &codec.HandshakeError{Status: 403}); x.replies() },
		"message":   func(x *side) { x.feed(frame(0x81, "m")) },
		"fragment":  func(x *side) { x.feed(frame(0x01, "m")) },
		"ping":      func(x *side) { x.feed(frame(0x89, "p")) },
		"pong":      func(x *side) { x.feed(frame(0x8a, "p")) },
		"closed":    func(x *side) { x.feed(frame(0x88, code(1001))) },
		"violation": func(x *side) { x.feed(bare(0x81, "m")) },
		"Close":     func(x *side) { x.shut(protocol.CloseGoingAway, "") },
	}
	const panicked = "panic"
	for _, tt := range []struct {
		from codec.State
		step string
		want string
		next codec.State
	}{
		{codec.StateOpening, "upgrade", "request /chat", codec.StateOpening},
		{codec.StateOpening, "plain", `http "GET / HTTP/1.1\r\nHost: a:8090\r\n\r\n"`, codec.StateOpening},
		{codec.StateOpening, "malformed", "refused 400; > HTTP/1.1 400 Bad Request", codec.StateClosed},
		{codec.StateOpening, "accept", "> HTTP/1.1 101 Switching Protocols", codec.StateOpen},
		{codec.StateOpening, "refuse", "> HTTP/1.1 403 Forbidden", codec.StateClosed},
		{codec.StateOpening, "Close", "> HTTP/1.1 503 Service Unavailable", codec.StateClosed},

		{codec.StateOpen, "accept", panicked, codec.StateOpen},
		{codec.StateOpen, "refuse", panicked, codec.StateOpen},
		{codec.StateOpen, "message", `text "m"`, codec.StateOpen},
		{codec.StateOpen, "fragment", "", codec.StateOpen},
		{codec.StateOpen, "ping", `ping "p"; > pong "p"`, codec.StateOpen},
		{codec.StateOpen, "pong", `pong "p"`, codec.StateOpen},
		{codec.StateOpen, "closed", `closed 1001 ""; > close 1001`, codec.StateClosed},
		{codec.StateOpen, "violation", "violation 1002; > close 1002", codec.StateClosed},
		{codec.StateOpen, "Close", "> close 1001", codec.StateClosing},

		{codec.StateClosing, "accept", panicked, codec.StateClosing},
		{codec.StateClosing, "refuse", panicked, codec.StateClosing},
		{codec.StateClosing, "message", "", codec.StateClosing},
		{codec.StateClosing, "fragment", "", codec.StateClosing},
		{codec.StateClosing, "ping", "", codec.StateClosing},
		{codec.StateClosing, "pong", "", codec.StateClosing},
		{codec.StateClosing, "closed", `closed 1001 ""`, codec.StateClosed},
		{codec.StateClosing, "violation", "violation 1002", codec.StateClosed},
		{codec.StateClosing, "Close", "", codec.StateClosing},

		{codec.StateClosed, "accept", panicked, codec.StateClosed},
		{codec.StateClosed, "refuse", panicked, codec.StateClosed},
		{codec.StateClosed, "upgrade", "", codec.StateClosed},
		{codec.StateClosed, "message", "", codec.StateClosed},
		{codec.StateClosed, "ping", "", codec.StateClosed},
		{codec.StateClosed, "closed", "", codec.StateClosed},
		{codec.StateClosed, "violation", "", codec.StateClosed},
		{codec.StateClosed, "Close", "", codec.StateClosed},
	} {
		x := newSide(t, limits())
		x.s = codec.NewSessionIn(x.opts, tt.from)
		x.onRequest = func() {}
		if err := x.env.Request.Parse(handshake, 20); err != nil {
			t.Fatal(err)
		}
		got := panicked
		if !panics(func() { steps[tt.step](x) }) {
			got = strings.Join(x.log, "; ")
		}
		if got != tt.want || x.s.State() != tt.next {
			t.Errorf("state %d, %s: %s, state %d; want %s, %d", tt.from, tt.step, got, x.s.State(), tt.want, tt.next)
		}
		if got == panicked && len(x.env.Out) > 0 {
			t.Errorf("state %d, %s: panics, but says %q", tt.from, tt.step, x.env.Out)
		}
	}
}

// A client that is closed before the answer has nothing to say.
func TestStateClientClosedWhileOpening(t *testing.T) {
	x := newSide(t, clientLimits())
	said := len(x.env.Out)
	if x.shut(protocol.CloseNormal, "") || len(x.env.Out) > said || x.s.State() != codec.StateClosed {
		t.Errorf("state %d, %q", x.s.State(), x.env.Out[said:])
	}
	x.feed("HTTP/1.1 101 Switching Protocols\r\n")
	x.finish()
}
