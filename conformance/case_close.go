package conformance

import (
	"fmt"
	"slices"
	"strings"
)

var (
	validCodes   = []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999}
	invalidCodes = []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 1999, 2000, 2999, 5000, 32768, 65535}
)

// closeCases: the codes and reasons of close frames (RFC 6455 §5.5.1, §7.4).
func closeCases() []Case {
	var cases []Case
	for _, code := range validCodes {
		cases = append(cases, newCase(fmt.Sprintf("7.4-code-%d", code), Should, fmt.Sprintf("code %d is answered with itself, then TCP ends", code), func(t *T) {
			c := t.open()
			c.send(closing(code, ""))
			c.wantClose(code)
		}))
	}
	for _, code := range invalidCodes {
		cases = append(cases, newCase(fmt.Sprintf("7.4-code-%d", code), Must, fmt.Sprintf("code %d may not stand in a close frame: 1002", code), func(t *T) {
			c := t.open()
			c.send(closing(code, "reason"))
			c.wantClose(1002)
		}))
	}
	reason := func(id string, code int, doc, reason string) Case {
		return newCase("5.5.1-reason-"+id, Must, fmt.Sprintf("%s: %d", doc, code), func(t *T) {
			c := t.open()
			c.send(closing(1000, reason))
			c.wantClose(code)
		})
	}
	return slices.Concat(cases, []Case{
		newCase("5.5.1-empty", Should, "an empty close frame is answered by an empty one", func(t *T) {
			c := t.open()
			c.send(frame{op: opClose})
			c.wantClose(0)
		}),
		newCase("5.5.1-one-byte", Must, "a close frame of one byte: 1002", func(t *T) {
			c := t.open()
			c.send(frame{op: opClose, payload: []byte{3}})
			c.wantClose(1002)
		}),
		reason("text", 1000, "a reason", "going home"),
		reason("123", 1000, "a reason of 123 bytes", strings.Repeat("r", 123)),
		reason("utf8", 1000, "a reason in several scripts", "\u03ba\u1f79\u03c3\u03bc\u03b5 \u65e5\u672c\u8a9e \U0001f600"),
		reason("123-utf8", 1000, "a reason of 123 bytes in code points of three", strings.Repeat("\u20ac", 41)),
		reason("byte-ff", 1007, "a reason with the byte FF", "bye\xff"),
		reason("lone", 1007, "a reason with a lone continuation byte", "\x80bye"),
		reason("overlong", 1007, "a reason with an overlong form", "bye \xc0\xaf"),
		reason("surrogate", 1007, "a reason with a surrogate", "bye \xed\xa0\x80"),
		reason("beyond", 1007, "a reason beyond Unicode", "bye \xf4\x90\x80\x80"),
		reason("incomplete", 1007, "a reason cut off inside a code point", "bye \xe2\x82"),
		reason("incomplete-123", 1007, "a reason of 123 bytes cut off inside a code point", strings.Repeat("r", 121)+"\xe2\x82"),
	})
}

// closeOrderCases: the closing handshake and what surrounds it (RFC 6455 §7.1).
func closeOrderCases() []Case {
	behind := func(id, doc string, frames ...frame) Case {
		return newCase("5.5.1-behind-"+id, Must, doc, func(t *T) {
			c := t.open()
			c.send(append([]frame{closing(1000, "")}, frames...)...)
			c.wantClose(1000)
		})
	}
	return []Case{
		behind("message", "a message behind the close frame is not echoed", text("too late")),
		behind("ping", "a ping behind the close frame is not answered", ping("too late")),
		behind("close", "a second close frame is not answered", closing(1001, "again")),
		behind("violation", "a violation behind the close frame is not answered", frame{op: opText, payload: []byte("x"), rsv: rsv2}),
		behind("half", "half a frame behind the close frame changes nothing", text("Hel").part()),
		behind("megabytes", "64 KiB behind the close frame are not echoed", bin(make([]byte, 64<<10))),
		newCase("7.1.7-server-first", Convention, "behind a violation the server ends TCP without waiting for the client's close frame", func(t *T) {
			c := t.open()
			c.send(frame{op: 4})
			c.saidClose = true // nothing is answered
			c.wantClose(1002)
		}),
		newCase("7.1.1-half-closed", Must, "a client that ends its stream behind its close frame gets the answer", func(t *T) {
			c := t.open()
			c.send(closing(1000, "bye"))
			c.closeWrite()
			c.wantClose(1000)
		}),
		newCase("5.5.1-dribbled", Must, "a close frame that arrives byte by byte is answered", func(t *T) {
			c := t.open()
			c.dribble(closing(1001, "one by one").wire())
			c.saidClose = true
			c.wantClose(1001)
		}),
		newCase("5.5.1-after-message", Convention, "a message before the close frame, in the same segment, is echoed first", func(t *T) {
			c := t.open()
			c.send(text("Hello"), closing(1000, ""))
			c.wantMessage(opText, []byte("Hello"))
			c.wantClose(1000)
		}),
		newCase("5.5.1-after-many", Must, "a close frame behind a thousand messages is answered, whatever is echoed before it in order", closeBehindMany),
		newCase("7.1.7-violation-once", Must, "a violation is answered once, also if another follows", func(t *T) {
			c := t.open()
			c.send(rest("stray"), rest("stray"), closing(1000, ""))
			c.wantClose(1002)
		}),
		newCase("7.1.7-violation-code", Must, "the close frame of a violation has a code and a reason in UTF-8", func(t *T) {
			c := t.open()
			c.send(frame{op: 5})
			if f := c.next("a close frame with 1002"); f.op != opClose || len(f.payload) < 2 {
				t.Failf("%v came in place of a close frame with 1002", f)
			}
		}),
		newCase("7.1.7-after-echo", Convention, "a violation behind 64 KiB does not lose their echo", func(t *T) {
			c := t.open()
			payload := t.noise(64 << 10)
			c.send(bin(payload), frame{op: 3})
			c.wantMessage(opBinary, payload)
			c.wantClose(1002)
		}),
	}
}

// closeBehindMany sends a thousand messages and a close frame without reading.
func closeBehindMany(t *T) {
	const messages = 1000
	c := t.open()
	payload := t.letters(1024)
	wire := frame{op: opText, payload: payload}.wire()
	c.saidClose = true
	c.stream(func(yield func([]byte) bool) {
		for range messages {
			if !yield(wire) {
				return
			}
		}
		yield(closing(1000, "").wire())
	})
	for n := 0; ; n++ {
		f := c.next("a close frame with 1000")
		if f.op == opClose {
			c.judgeClose(f, []int{1000})
			return
		}
		if n == messages || f.op != opText || string(f.payload) != string(payload) {
			t.Failf("%v came in place of echo %d", f, n+1)
		}
	}
}
