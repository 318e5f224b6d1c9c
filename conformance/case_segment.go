package conformance

import (
	"bytes"
	"time"
)

// segmentGap parts two writes, so that they arrive apart.
const segmentGap = 2 * time.Millisecond

// earlyCases send frames together with the opening handshake. A client has to
// wait for the 101 before it does so (RFC 6455 §4.1), and to serve them is a
// courtesy.
func earlyCases() []Case {
	hello := []byte("Hello")
	withFrames := func(id, doc string, frames []frame, want func(c *conn)) Case {
		return newCase(id, Convention, doc, func(t *T) {
			q := t.request()
			c := t.dial()
			c.write(append(q.bytes(), join(frames...)...))
			c.wantAccepted(q.key)
			want(c)
		})
	}
	return []Case{
		withFrames("4.1-early-message", "a message in the same segment as the handshake is echoed",
			[]frame{text("Hello")}, func(c *conn) { c.wantMessage(opText, hello) }),
		withFrames("4.1-early-messages", "several messages in the same segment as the handshake are echoed in order",
			[]frame{text("one"), bin([]byte("two")), text("thr").part(), rest("ee"), text("four")}, func(c *conn) {
				c.wantMessage(opText, []byte("one"))
				c.wantMessage(opBinary, []byte("two"))
				c.wantMessage(opText, []byte("three"))
				c.wantMessage(opText, []byte("four"))
			}),
		withFrames("4.1-early-ping", "a ping in the same segment as the handshake is answered",
			[]frame{ping("early")}, func(c *conn) { c.wantPong([]byte("early")); c.wantAlive() }),
		withFrames("4.1-early-close", "a close frame in the same segment as the handshake is answered",
			[]frame{closing(1000, "")}, func(c *conn) { c.saidClose = true; c.wantClose(1000) }),
		withFrames("4.1-early-violation", "an unmasked frame in the same segment as the handshake: 1002",
			[]frame{{op: opText, payload: hello, bare: true}}, func(c *conn) { c.wantClose(1002) }),
		newCase("4.1-early-large", Convention, "64 KiB behind the handshake without waiting for the 101 are echoed", func(t *T) {
			payload := t.noise(64 << 10)
			q := t.request()
			c := t.dial()
			wire := append(q.bytes(), bin(payload).wire()...)
			c.stream(func(yield func([]byte) bool) { yield(wire) })
			c.wantAccepted(q.key)
			c.wantMessage(opBinary, payload)
		}),
		newCase("4.1-early-refused", Must, "a message behind a refused handshake is not echoed", func(t *T) {
			q := t.request()
			without("Sec-WebSocket-Key")(q)
			c := t.dial()
			c.write(append(q.bytes(), text("must not come back").wire()...))
			if r := c.response(); r.status == 101 || bytes.Contains(r.body, []byte("must not come back")) {
				t.Failf("the answer is %q with the body %q", r.line, r.body)
			}
		}),
		newCase("4.1-early-dribbled", Convention, "a handshake with a message behind it that arrive byte by byte are served", func(t *T) {
			q := t.request()
			c := t.dial()
			c.dribble(append(q.bytes(), text("Hello").wire()...))
			c.wantAccepted(q.key)
			c.wantMessage(opText, hello)
		}),
		newCase("4.1-early-cut", Convention, "a handshake with frames behind it may be cut in two at each byte", func(t *T) {
			q := t.request()
			wire := append(q.bytes(), join(text("Hel").part(), ping("!"), rest("lo"))...)
			t.cutEverywhere(q, wire, func(c *conn) { c.wantBoth("!", "Hello") })
		}),
		newCase("4.1-early-request", Convention, "what follows a 101 is frames: another request there is a violation", func(t *T) {
			q := t.request()
			c := t.dial()
			c.write(append(q.bytes(), q.bytes()...))
			c.wantAccepted(q.key)
			c.wantClose(1002)
		}),
	}
}

// cutHeadCases cut the opening handshake in all ways: TCP keeps no borders.
func cutHeadCases() []Case {
	return []Case{
		newCase("4.2.1-cut-dribbled", Must, "a handshake that arrives byte by byte is served", func(t *T) {
			q := t.request()
			c := t.dial()
			c.dribble(q.bytes())
			c.wantAccepted(q.key)
			c.wantAlive()
		}),
		newCase("4.2.1-cut-everywhere", Must, "a handshake may be cut in two at each byte", func(t *T) {
			q := t.request()
			t.cutEverywhere(q, q.bytes(), (*conn).wantAlive)
		}),
		newCase("4.2.1-cut-lines", Must, "a handshake may arrive line by line, and half a line at a time", func(t *T) {
			q := t.request()
			c := t.dial()
			for line := range bytes.SplitAfterSeq(q.bytes(), []byte("\n")) {
				c.write(line[:len(line)/2])
				t.pause(segmentGap)
				c.write(line[len(line)/2:])
				t.pause(segmentGap)
			}
			c.wantAccepted(q.key)
			c.wantAlive()
		}),
	}
}

// cutEverywhere sends wire, which begins with q, in two segments, cut at each
// byte in turn.
func (t *T) cutEverywhere(q *request, wire []byte, want func(c *conn)) {
	for i := 1; i < len(wire); i++ {
		c := t.dial()
		c.write(wire[:i])
		t.pause(segmentGap)
		c.write(wire[i:])
		c.wantAccepted(q.key)
		want(c)
		c.drop()
	}
}
