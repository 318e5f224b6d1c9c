package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// fragmentCases: messages in pieces (RFC 6455 §5.4).
func fragmentCases() []Case {
	empty := rest("").part()
	return []Case{
		whole("two", "a message in two fragments is put together", text("Hello").part(), rest(", world")),
		whole("three", "a message in three fragments is put together", text("He").part(), rest("llo, ").part(), rest("world")),
		whole("binary", "a binary message in fragments comes back as binary", bin([]byte{0, 1}).part(), rest("\x02").part(), rest("\xff")),
		whole("empty-first", "the first fragment may be empty", text("").part(), rest("Hello")),
		whole("empty-middle", "a middle fragment may be empty", text("Hel").part(), empty, rest("lo")),
		whole("empty-last", "the last fragment may be empty", text("Hello").part(), rest("")),
		whole("empty-all", "all fragments may be empty", text("").part(), empty, empty, rest("")),
		whole("empty-many", "a hundred fragments may be empty", slices.Concat(
			[]frame{text("Hel").part()}, slices.Repeat([]frame{empty}, 100), []frame{rest("lo")})...),
		whole("lengths", "fragments of all forms of the length are put together",
			bin([]byte(strings.Repeat("a", 125))).part(), rest(strings.Repeat("b", 126)).part(),
			rest(strings.Repeat("c", 65535)).part(), rest(strings.Repeat("d", 65536)).part(), rest("e")),
		newCase("5.4-bytes", Must, "a thousand fragments of one byte are put together", func(t *T) {
			c := t.open()
			payload := t.letters(1000)
			c.send(fragments(opText, payload, 1)...)
			c.wantMessage(opText, payload)
		}),
		newCase("5.4-everywhere", Must, "a message may be cut in two at each byte", func(t *T) {
			c := t.open()
			hello := []byte("Hello, world")
			for i := range len(hello) + 1 {
				c.send(frame{op: opText, payload: hello[:i], more: true}, frame{payload: hello[i:]})
				c.wantMessage(opText, hello)
			}
		}),
	}
}

// orderCases: frames that do not belong where they stand, and those that do.
func orderCases() []Case {
	broken := func(id, doc string, frames ...frame) Case {
		return newCase("5.4-"+id, Must, doc+": 1002", func(t *T) {
			c := t.open()
			c.send(frames...)
			c.wantClose(1002)
		})
	}
	return slices.Concat([]Case{
		broken("stray", "a continuation without a message", rest("Hello")),
		broken("stray-first", "a continuation that announces more, without a message", rest("Hello").part()),
		broken("stray-empty", "an empty continuation without a message", rest("")),
		broken("new-text", "a text message inside a fragmented one", text("Hel").part(), text("lo")),
		broken("new-binary", "a binary message inside a fragmented text", text("Hel").part(), bin([]byte("lo"))),
		broken("new-fragmented", "a fragmented message inside a fragmented one", bin([]byte("Hel")).part(), text("lo").part()),
		broken("new-empty", "an empty message inside a fragmented one", text("Hel").part(), rest("l").part(), text("")),
		newCase("5.4-stray-behind", Must, "a continuation behind the end of a message: 1002", func(t *T) {
			c := t.open()
			c.send(text("Hel").part(), rest("lo"), rest("!"))
			c.wantCloseBehind("Hello", 1002)
		}),
		newCase("5.4-order", Must, "a hundred messages of all kinds in one segment come back in order", func(t *T) {
			c := t.open()
			var frames []frame
			for i := range 100 {
				switch s := fmt.Sprintf("message %d", i); i % 3 {
				case 0:
					frames = append(frames, text(s))
				case 1:
					frames = append(frames, bin([]byte(s)))
				default:
					frames = append(frames, text(s[:3]).part(), rest(s[3:]))
				}
			}
			c.send(frames...)
			for i := range 100 {
				c.wantMessage([]byte{opText, opBinary, opText}[i%3], fmt.Appendf(nil, "message %d", i))
			}
		}),
	}, betweenCases())
}

// whole is a case of a message in proper fragments.
func whole(id, doc string, frames ...frame) Case {
	var op byte
	var payload []byte
	for _, f := range frames {
		op = max(op, f.op)
		payload = append(payload, f.payload...)
	}
	return newCase("5.4-"+id, Must, doc, func(t *T) {
		c := t.open()
		c.send(frames...)
		c.wantMessage(op, payload)
		c.wantAlive()
		for _, f := range frames { // the same, each frame a segment
			c.send(f)
			t.pause(segmentGap)
		}
		c.wantMessage(op, payload)
	})
}

// betweenCases: control frames between fragments (RFC 6455 §5.4, §5.5).
func betweenCases() []Case {
	return []Case{
		newCase("5.4-ping-between", Must, "a ping between fragments is answered before the message ends", func(t *T) {
			c := t.open()
			c.send(text("Hel").part(), ping("now"))
			c.wantPong([]byte("now"))
			c.send(rest("lo"))
			c.wantMessage(opText, []byte("Hello"))
		}),
		newCase("5.4-pings-between", Must, "pings between all fragments, one of 125 bytes, are answered in order", func(t *T) {
			c := t.open()
			long := strings.Repeat("p", 125)
			c.send(text("He").part(), ping("1"), rest("l").part(), ping(long), rest("").part(), ping(""), rest("lo"))
			c.wantPongs("1", long, "")
			c.wantMessage(opText, []byte("Hello"))
		}),
		newCase("5.4-pong-between", Must, "a pong between fragments is ignored", func(t *T) {
			c := t.open()
			c.send(text("Hel").part(), pong("unasked"), rest("lo"))
			c.wantMessage(opText, []byte("Hello"))
		}),
		newCase("5.4-ping-in-code-point", Must, "a ping between fragments that part a code point is answered", func(t *T) {
			c := t.open()
			c.send(text("\xe2\x82").part(), ping("euro"), rest("\xac"))
			c.wantPong([]byte("euro"))
			c.wantMessage(opText, []byte("\u20ac"))
		}),
		newCase("5.4-close-between", Must, "a close frame between fragments is answered, the message dropped", func(t *T) {
			c := t.open()
			c.send(text("Hel").part(), closing(1000, ""))
			c.wantClose(1000)
		}),
	}
}

// wantPongs expects the answers to pings that were sent in one piece: of several
// the last alone may be answered (RFC 6455 §5.5.3).
func (c *conn) wantPongs(payloads ...string) {
	for i := 0; i < len(payloads); i++ {
		f := c.next(fmt.Sprintf("the pong %.40q", payloads[i]))
		for f.op == opPong && string(f.payload) != payloads[i] && i < len(payloads)-1 {
			i++
		}
		if f.op != opPong || string(f.payload) != payloads[i] {
			c.t.Failf("%v came in place of %s", f, c.waiting)
		}
	}
}
