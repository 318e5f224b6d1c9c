package conformance

import (
	"fmt"
	"strconv"
	"strings"
)

// controlCases: pings, pongs and the limits of control frames (RFC 6455 §5.5).
func controlCases() []Case {
	var cases []Case
	pings := []struct{ id, payload string }{
		{"empty", ""}, {"one-byte", "x"}, {"text", "Hello"}, {"124", strings.Repeat("p", 124)}, {"125", strings.Repeat("\xfe", 125)},
		{"binary", "\x00\x01\xff\xfe\x80"},
	}
	for _, p := range pings {
		cases = append(cases, newCase("5.5.2-ping-"+p.id, Must, fmt.Sprintf("a ping of length %d is answered by a pong with the same payload", len(p.payload)), func(t *T) {
			c := t.open()
			c.send(ping(p.payload))
			c.wantPong([]byte(p.payload))
			c.wantAlive()
		}))
	}
	for _, o := range opcodes {
		if o.op < opClose {
			continue
		}
		cases = append(cases,
			newCase("5.5-fragmented-"+o.name, Must, "a control frame without FIN: 1002", func(t *T) {
				c := t.open()
				c.send(frame{op: o.op, more: true}, rest(""))
				c.wantClose(1002)
			}),
			newCase("5.5-fragmented-inside-"+o.name, Must, "a control frame without FIN inside a message: 1002", func(t *T) {
				c := t.open()
				c.send(text("Hel").part(), frame{op: o.op, more: true})
				c.wantClose(1002)
			}),
			newCase("5.5-long-"+o.name, Must, "a control frame of 126 bytes: 1002", func(t *T) {
				c := t.open()
				payload := closing(1000, strings.Repeat("r", 124)).payload
				c.send(frame{op: o.op, payload: payload})
				c.wantClose(1002)
			}),
			newCase("5.5-longer-"+o.name, Should, "a control frame that announces 65536 bytes is refused by its header: 1002", func(t *T) {
				c := t.open()
				c.write(frame{op: o.op, announce: 65536}.header())
				c.wantClose(1002)
			}))
	}
	return append(cases, pingCases()...)
}

func pingCases() []Case {
	numbers := func(n int) (frames []frame, payloads []string) {
		for i := range n {
			payloads = append(payloads, strconv.Itoa(i))
			frames = append(frames, ping(payloads[i]))
		}
		return frames, payloads
	}
	return []Case{
		newCase("5.5.2-ping-ten", Must, "of ten pings in one segment at least the last is answered, in order", func(t *T) {
			c := t.open()
			frames, payloads := numbers(10)
			c.send(frames...)
			c.wantPongs(payloads...)
			c.wantAlive()
		}),
		newCase("5.5.2-ping-apart", Must, "ten pings one after the other are all answered", func(t *T) {
			c := t.open()
			for i := range 10 {
				c.send(ping(strconv.Itoa(i)))
				c.wantPong([]byte(strconv.Itoa(i)))
			}
		}),
		newCase("5.5.2-ping-dribbled", Must, "ten pings byte by byte are answered", func(t *T) {
			c := t.open()
			frames, payloads := numbers(10)
			c.dribble(join(frames...))
			c.wantPongs(payloads...)
			c.wantAlive()
		}),
		newCase("5.5.2-ping-and-message", Must, "a ping before a message does not hinder its echo, nor the reverse", func(t *T) {
			c := t.open()
			c.send(ping("a"), text("Hello"))
			c.wantBoth("a", "Hello")
			c.send(text("Hello"), ping("b"))
			c.wantBoth("b", "Hello")
		}),
		newCase("5.5.3-pong-unasked", Must, "pongs that answer nothing are ignored", func(t *T) {
			c := t.open()
			c.send(pong(""), pong("unasked"), pong(strings.Repeat("p", 125)))
			c.wantAlive()
		}),
		newCase("5.5.3-pong-then-ping", Must, "a pong that answers nothing does not confuse the next ping", func(t *T) {
			c := t.open()
			c.send(pong("unasked"), ping("asked"))
			c.wantPong([]byte("asked"))
			c.wantAlive()
		}),
		newCase("5.5.3-pong-thousand", Must, "a thousand pongs that answer nothing are ignored", func(t *T) {
			c := t.open()
			for range 1000 {
				c.send(pong("unasked"))
			}
			c.wantAlive()
		}),
	}
}

// wantBoth expects a pong and the echo of a text, in whichever order.
func (c *conn) wantBoth(pong, text string) {
	f := c.next("a pong and an echo")
	if f.op == opPong {
		if string(f.payload) != pong {
			c.t.Failf("%v came in place of the pong %q", f, pong)
		}
		c.wantMessage(opText, []byte(text))
		return
	}
	if f.op != opText || string(f.payload) != text {
		c.t.Failf("%v came in place of the echo of %q", f, text)
	}
	c.wantPong([]byte(pong))
}

// cutCases deliver frames in all pieces that TCP may make of them.
func cutCases() []Case {
	var cases []Case
	for _, n := range []int{0, 5, 125, 126, 300} {
		cases = append(cases, newCase(fmt.Sprintf("5.2-cut-bytes-%d", n), Must, "a message that arrives byte by byte is echoed", func(t *T) {
			c := t.open()
			payload := t.letters(n)
			c.dribble(frame{op: opText, payload: payload}.wire())
			c.wantMessage(opText, payload)
		}))
	}
	for _, n := range []int{5, 126, 65536} {
		cases = append(cases, newCase(fmt.Sprintf("5.2-cut-header-%d", n), Must, "a frame may be cut in two at each byte of its header", func(t *T) {
			c := t.open()
			payload := t.noise(n)
			wire := bin(payload).wire()
			for i := 1; i <= len(wire)-n+4; i++ {
				c.write(wire[:i])
				t.pause(segmentGap)
				c.write(wire[i:])
				c.wantMessage(opBinary, payload)
			}
		}))
	}
	return append(cases,
		newCase("5.2-cut-everywhere", Must, "a sequence of frames of all kinds may be cut in two at each byte", func(t *T) {
			c := t.open()
			wire := join(text("one"), ping("p"), text("tw").part(), pong("unasked"), rest("o \xe2\x82\xac"), bin([]byte{0xff}))
			for i := 1; i < len(wire); i++ {
				c.write(wire[:i])
				t.pause(segmentGap)
				c.write(wire[i:])
				c.wantSequence()
			}
		}),
		newCase("5.2-cut-dribbled", Must, "a sequence of frames of all kinds may arrive byte by byte", func(t *T) {
			c := t.open()
			c.dribble(join(text("one"), ping("p"), text("tw").part(), pong("unasked"), rest("o \xe2\x82\xac"), bin([]byte{0xff})))
			c.wantSequence()
		}),
		newCase("5.2-cut-chunks", Must, "64 KiB in segments of 1, 2, 3 … bytes are echoed", func(t *T) {
			c := t.open()
			payload := t.noise(64 << 10)
			wire := bin(payload).wire()
			for n := 1; len(wire) > 0; n++ {
				n := min(n, len(wire))
				c.write(wire[:n])
				wire = wire[n:]
			}
			c.wantMessage(opBinary, payload)
		}))
}

// wantSequence expects what answers the frames of 5.2-cut-everywhere. The pong
// may overtake messages.
func (c *conn) wantSequence() {
	messages := []string{`text "one"`, `text "two €"`, `binary "\xff"`}
	ponged := false
	for len(messages) > 0 || !ponged {
		f := c.next(fmt.Sprintf("%q and a pong", messages))
		switch s := f.String(); {
		case s == `pong "p"` && !ponged:
			ponged = true
		case len(messages) > 0 && s == messages[0]:
			messages = messages[1:]
		default:
			c.t.Failf("%v came in place of %s", f, c.waiting)
		}
	}
}
