package codec_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// pieces feeds c in pieces, as an engine would, closes it after so many events,
// if not 0, and returns all that it showed. The contracts of Codec are checked
// on the way, and that c never holds more than mostBytes.
func pieces(tb testing.TB, c codec.Codec, input string, cut cut, closeAfter, mostBytes int) string {
	tb.Helper()
	env := newEnv()
	if ev := c.Start(env); ev.Kind != codec.Open {
		tb.Fatalf("%+v at the start", ev)
	}
	var log []string
	over := false
	for len(input) > 0 {
		n := cut(len(input))
		in := []byte(input[:n])
		input = input[n:]
		for rest := in; ; {
			ev, n := c.Decode(env, rest)
			if n < 0 || n > len(rest) || ev.Kind == codec.NeedMore && n < len(rest) || ev.Kind != codec.NeedMore && (n == 0 || over) {
				tb.Fatalf("%+v, took %d of %d bytes, over: %v", ev, n, len(rest), over)
			}
			if held := env.Buffers.LentBytes(); held > mostBytes || c.(codec.Buffered).Buffered() > held+4 {
				tb.Fatalf("%d bytes held, %d at most, %d buffered", held, mostBytes, c.(codec.Buffered).Buffered())
			}
			rest = rest[n:]
			switch ev.Kind {
			case codec.Message:
				log = append(log, show(ev.Opcode.String(), ev.Data))
			case codec.Close:
				over = true
				log = append(log, env.Closed.Error())
			}
			if ev.Kind == codec.NeedMore {
				break
			}
			if len(log) == closeAfter {
				over = true
				if c.Close(env, protocol.CloseNormal, "") {
					tb.Fatal("a farewell is awaited")
				}
			}
			// Data is still the caller's: nobody else gets its memory, and appending
			// to it changes nothing that is to come.
			data := bytes.Clone(ev.Data)
			other := env.Buffers.Get(len(data))
			clear(other[:cap(other)])
			if !bytes.Equal(ev.Data, data) {
				tb.Fatalf("the data of an event changed while it was valid")
			}
			env.Buffers.Put(other)
			_ = append(ev.Data, "\n\xee"...)
		}
		for i := range in { // what is needed of it was copied
			in[i] = 0xee
		}
	}
	kept := c.(codec.Buffered).Buffered()
	if lent := env.Buffers.Lent(); lent > 1 || lent > kept {
		tb.Fatalf("%d buffers lent for %d bytes", lent, kept)
	}
	if over && kept > 0 || len(env.Out) > 0 {
		tb.Fatalf("%d bytes kept, %q said, over: %v", kept, env.Out, over)
	}
	c.Release(env)
	if env.Buffers.Lent() != 0 {
		tb.Fatalf("%d buffers lent after Release", env.Buffers.Lent())
	}
	return strings.Join(append(log, fmt.Sprintf("%d kept", kept)), "; ")
}

// anyCut checks what input leads to, however it is cut: whole, bytewise, into
// two everywhere, at random.
func anyCut(t *testing.T, fresh func() codec.Codec, input, want string, mostBytes int) {
	t.Helper()
	same := func(name string, cut cut) {
		t.Helper()
		if got := pieces(t, fresh(), input, cut, 0, mostBytes); got != want {
			t.Errorf("%.200q, %s\ngot  %s\nwant %s", input, name, got, want)
		}
	}
	same("whole", whole)
	same("bytewise", bytewise)
	if len(input) <= 400 {
		for n := range len(input) {
			same("split", splitAt(n))
		}
	}
	for seed := range uint64(4) {
		same("random", randomly(seed))
	}
}

// heldMost is the most memory that a codec of messages of n bytes may hold.
func heldMost(n int) int { return max(512, 2*(n+1)) }

// inPlace decodes message, with more behind it, and fails unless the data lies
// there, with room for no more than what was taken.
func inPlace(t *testing.T, c codec.Codec, message string, at, size int) {
	t.Helper()
	env, in := newEnv(), []byte(message+"more")
	ev, n := c.Decode(env, in)
	if ev.Kind != codec.Message || n != len(message) || len(ev.Data) != size || &ev.Data[0] != &in[at] || cap(ev.Data) > n-at {
		t.Errorf("%+v, %d: it was copied, or has room for more", ev, n)
	}
}

// refused feeds c, and fails unless it ends with this code and text, and nothing
// was ever borrowed.
func refused(t *testing.T, c codec.Codec, in string, code protocol.CloseCode, want string) {
	t.Helper()
	env := newEnv()
	ev, n := c.Decode(env, []byte(in))
	e := env.Closed
	if ev.Kind != codec.Close || n != len(in) || e.Code != code || e.Remote || e.Err == nil || e.Err.Error() != want {
		t.Errorf("%.40q: %+v, took %d, %v", in, ev, n, e)
	}
	if _, free := env.Buffers.FreeBytes(); free+env.Buffers.Lent() > 0 {
		t.Errorf("%.40q: a buffer was borrowed", in)
	}
	var violation *protocol.Error
	if errors.As(e, &violation) {
		t.Errorf("%.40q: %v breaks RFC 6455, which this is not", in, e)
	}
}

// units are the lengths of what Encode appended, one after the other.
func units(t *testing.T, c codec.Codec, messages ...string) (list []int) {
	t.Helper()
	var wire []byte
	for i, m := range messages {
		var err error
		if wire, err = c.Encode(nil, wire, protocol.OpText+protocol.Opcode(i%2), []byte(m), i%3 == 0); err != nil {
			t.Fatal(err)
		}
	}
	for len(wire) > 0 {
		n, message := c.Unit(wire)
		if n <= 0 || n > len(wire) || !message {
			t.Fatalf("%d of %d, a message: %v", n, len(wire), message)
		}
		list = append(list, n)
		wire = wire[n:]
	}
	return list
}

// neverGrows takes the events of wire again and again without an allocation.
func neverGrows(t *testing.T, c codec.Codec, wire string, cut, events int) {
	t.Helper()
	e := &echo{s: c, env: newEnv()}
	if n := testing.AllocsPerRun(20, func() {
		if n := e.take(wire, cut); n != events {
			t.Fatalf("%.20q: %d events", wire, n)
		}
	}); n > 0 {
		t.Errorf("%.20q in pieces of %d: %v allocations", wire, cut, n)
	}
	if n := e.env.Buffers.Lent(); n != 0 {
		t.Errorf("%.20q in pieces of %d: %d buffers lent while idle", wire, cut, n)
	}
}

func TestConstructorsRefuseBounds(t *testing.T) {
	for _, n := range []int{0, -1} {
		for name, f := range map[string]func(){
			"NewLines":  func() { codec.NewLines(n) },
			"NewFrames": func() { codec.NewFrames(n) },
		} {
			if got, want := complaint(f), fmt.Sprintf("codec: %s: maxBytes is %d: it must be positive", name, n); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
}

// A codec that is closed gives its buffer back at once, but for what the last
// event lent.
func TestCloseGivesBack(t *testing.T) {
	for _, tt := range []struct {
		c         codec.Codec
		half, end string
	}{
		{codec.NewLines(100), "half", " a line\n"},
		{codec.NewFrames(100), "\x00\x00\x00\x08ha", "lf"},
	} {
		env := newEnv()
		tt.c.Decode(env, []byte(tt.half))
		if ev, _ := tt.c.Decode(env, []byte(tt.end)); ev.Kind != codec.Message || env.Buffers.Lent() != 1 {
			t.Fatalf("%+v, %d lent", ev, env.Buffers.Lent())
		}
		tt.c.Close(env, protocol.CloseNormal, "")
		if env.Buffers.Lent() != 1 {
			t.Errorf("%T: Close took back what was lent", tt.c)
		}
		tt.c.Decode(env, nil)
		if env.Buffers.Lent() != 0 {
			t.Errorf("%T: %d buffers lent at the next call", tt.c, env.Buffers.Lent())
		}
	}
	for half, c := range map[string]codec.Codec{"half": codec.NewLines(100), "\x00\x00\x00\x08ha": codec.NewFrames(100)} {
		env := newEnv()
		c.Decode(env, []byte(half))
		if got := c.(codec.Buffered).Buffered(); got != len(half) || env.Buffers.Lent() != 1 {
			t.Errorf("%T: %d of %d bytes kept in %d buffers", c, got, len(half), env.Buffers.Lent())
		}
		c.Close(env, protocol.CloseNormal, "")
		if n := c.(codec.Buffered).Buffered(); n != 0 || env.Buffers.Lent() != 0 {
			t.Errorf("%T: %d bytes kept in %d buffers after Close", c, n, env.Buffers.Lent())
		}
	}
}
