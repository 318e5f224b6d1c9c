package codec_test

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

var (
	_ codec.Upgrader = (*codec.Session)(nil)
	_ codec.Buffered = (*codec.Session)(nil)
	_ codec.Buffered = (*codec.Lines)(nil)
	_ codec.Buffered = (*codec.Frames)(nil)
)

// codecs are open connections that speak each protocol, and what the peer of
// each speaks.
var codecs = map[string]struct {
	open, peer func(*codec.Options) codec.Codec
	framed     bool // messages keep their bounds
	farewell   bool // there is one, and control frames
	text       bool // messages are lines of text
}{
	"raw":    {open: raw, peer: raw},
	"lines":  {open: lines, peer: lines, framed: true, text: true},
	"frames": {open: lengthFrames, peer: lengthFrames, framed: true},
	"server": {open: inRole(codec.Server), peer: inRole(codec.Client), framed: true, farewell: true},
	"client": {open: inRole(codec.Client), peer: inRole(codec.Server), framed: true, farewell: true},
}

func raw(*codec.Options) codec.Codec            { return new(codec.Raw) }
func lines(o *codec.Options) codec.Codec        { return codec.NewLines(int(o.MessageBytesMax)) }
func lengthFrames(o *codec.Options) codec.Codec { return codec.NewFrames(int(o.MessageBytesMax)) }

func inRole(r codec.Role) func(*codec.Options) codec.Codec {
	return func(o *codec.Options) codec.Codec {
		own := *o
		own.Role = r
		return codec.NewSessionIn(&own, codec.StateOpen)
	}
}

// messages decodes all of in, as an engine would.
func messages(t *testing.T, c codec.Codec, env *codec.Env, in []byte) (list []string) {
	t.Helper()
	for {
		ev, n := c.Decode(env, in)
		in = in[n:]
		switch {
		case ev.Kind == codec.NeedMore && len(in) > 0:
			t.Fatalf("%d bytes left", len(in))
		case ev.Kind == codec.NeedMore:
			return list
		case ev.Kind == codec.Message:
			list = append(list, string(ev.Data))
		}
	}
}

func TestCodecContract(t *testing.T) {
	for name, tt := range codecs {
		t.Run(name, func(t *testing.T) {
			o, env := limits(), newEnv()
			c, peer := tt.open(&o), tt.peer(&o)

			// Encode appends, and leaves what is not its own alone.
			sent := []string{"hello", text(300), "", chaos(70_000)}
			if tt.text {
				sent[3] = text(70_000)
			}
			payload, wire := []byte(nil), []byte("before")
			for _, s := range sent {
				payload = append(payload[:0], s...)
				var err error
				if wire, err = peer.Encode(env, wire, protocol.OpBinary, payload, false); err != nil || string(payload) != s {
					t.Fatalf("%v, payload changed: %v", err, string(payload) != s)
				}
			}
			wire, ok := bytes.CutPrefix(wire, []byte("before"))
			if !ok {
				t.Fatal("Encode changed what was before")
			}

			// Decode takes everything, from nothing to many messages and cut anywhere.
			if got := messages(t, c, env, nil); got != nil {
				t.Errorf("%q out of nothing", got)
			}
			got := messages(t, c, env, bytes.Clone(wire))
			for _, b := range bytes.Clone(wire) {
				got = append(got, messages(t, c, env, []byte{b})...)
			}
			want := slices.Repeat(sent, 2)
			if strings.Join(got, "") != strings.Join(want, "") || tt.framed && len(got) != len(want) {
				t.Errorf("%d messages, %d sent", len(got), len(want))
			}
			if n := env.Buffers.Lent(); n != 0 {
				t.Errorf("%d buffers lent while idle", n)
			}

			// Close says whether the peer answers; after it, no message comes.
			if awaits := c.Close(env, protocol.CloseNormal, ""); awaits != tt.farewell || (len(env.Out) > 0) != tt.farewell {
				t.Errorf("Close awaits an answer: %v, says %q", awaits, env.Out)
			}
			if got := messages(t, c, env, bytes.Clone(wire)); got != nil {
				t.Errorf("%d messages after Close", len(got))
			}
			messages(t, c, env, wire[:3])
			c.Release(env)
			c.Release(env)
			if n := env.Buffers.Lent(); n != 0 {
				t.Errorf("%d buffers lent after Release", n)
			}
		})
	}
}

func TestCodecEncodeOpcodes(t *testing.T) {
	for name, tt := range codecs {
		o, env := limits(), newEnv()
		c := tt.open(&o)
		for op := range protocol.Opcode(17) {
			control := op == protocol.OpPing || op == protocol.OpPong
			for _, n := range []int{0, 125, 126} {
				wire, err := c.Encode(env, []byte("x"), op, []byte(text(n)), false)
				if op == protocol.OpText || op == protocol.OpBinary || control && tt.farewell && n <= 125 {
					if err != nil || len(wire) < 1+n {
						t.Errorf("%s: %v of %d bytes: %v", name, op, n, err)
					}
				} else if !errors.Is(err, codec.ErrOpcode) || string(wire) != "x" {
					t.Errorf("%s: %v of %d bytes: %v, %q", name, op, n, err, wire)
				}
			}
		}
	}
}

func TestRawOpensAtOnceAndPassesBytes(t *testing.T) {
	var c codec.Raw
	env := newEnv()
	if ev := c.Start(env); ev.Kind != codec.Open {
		t.Errorf("%+v", ev)
	}
	in := []byte("\x81\x05hello")
	ev, n := c.Decode(env, in)
	if n != len(in) || ev.Kind != codec.Message || ev.Opcode != protocol.OpBinary || !bytes.Equal(ev.Data, in) {
		t.Errorf("%+v, %d", ev, n)
	}
	if wire, err := c.Encode(env, nil, protocol.OpText, in, false); err != nil || !bytes.Equal(wire, in) {
		t.Errorf("%q, %v", wire, err)
	}
}

func TestCloseError(t *testing.T) {
	violation := &protocol.Error{Code: protocol.CloseProtocolError, Reason: "why"}
	for _, tt := range []struct {
		e    codec.CloseError
		want string
	}{
		{codec.CloseError{Code: 1000, Reason: "bye", Remote: true}, "closed by the peer: 1000 bye"},
		{codec.CloseError{Code: 1002, Reason: "why", Err: violation}, "closed by this side: 1002 why"},
	} {
		if got := tt.e.Error(); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		if got := errors.Is(&tt.e, violation); got != (tt.e.Err != nil) {
			t.Errorf("%v wraps the violation: %v", &tt.e, got)
		}
	}
}
