package conformance

import "fmt"

// sizeCases echo messages around the borders of the length field (RFC 6455 §5.2)
// and with all kinds of masks (§5.3).
func sizeCases() []Case {
	var cases []Case
	for _, n := range []int{0, 1, 2, 124, 125, 126, 127, 128, 255, 256, 32767, 32768, 65534, 65535, 65536, 65537} {
		cases = append(cases,
			newCase(fmt.Sprintf("5.2-text-%d", n), Must, fmt.Sprintf("a text message of length %d is echoed", n), func(t *T) {
				t.open().echo(opText, t.letters(n))
			}),
			newCase(fmt.Sprintf("5.2-binary-%d", n), Must, fmt.Sprintf("a binary message of length %d is echoed", n), func(t *T) {
				t.open().echo(opBinary, t.noise(n))
			}))
	}
	masks := []struct {
		name string
		f    frame
	}{{"zero", frame{zeroKey: true}}, {"ones", frame{key: 0xffffffff}}, {"first", frame{key: 0xff000000}}, {"last", frame{key: 0x000000ff}}}
	for _, m := range masks {
		cases = append(cases, newCase("5.3-mask-"+m.name, Must, "messages of 0 to 70 bytes under a mask of this kind are echoed", func(t *T) {
			c := t.open()
			for n := range 71 {
				f := m.f
				f.op, f.payload = opBinary, t.noise(n)
				c.send(f)
				c.wantMessage(opBinary, f.payload)
			}
		}))
	}
	return append(cases,
		newCase("5.3-mask-changes", Must, "each fragment has a mask of its own", func(t *T) {
			c := t.open()
			one, two, three := text("Hel").part(), rest("lo, wo").part(), rest("rld")
			one.key, two.key, three.key = 1, 0x80000001, 0xdeadbeef
			c.send(one, two, three)
			c.wantMessage(opText, []byte("Hello, world"))
		}),
		newCase("5.6-kind", Must, "a text message comes back as text, a binary one as binary, the same bytes in both", func(t *T) {
			c := t.open()
			c.echo(opText, []byte("same"))
			c.echo(opBinary, []byte("same"))
			c.echo(opText, nil)
			c.echo(opBinary, nil)
		}),
		newCase("5.6-binary-any", Must, "a binary message of all bytes, and of what is no UTF-8, is echoed", func(t *T) {
			c := t.open()
			all := make([]byte, 256)
			for i := range all {
				all[i] = byte(i)
			}
			c.echo(opBinary, all)
			c.echo(opBinary, []byte("\xff\xfe\xc0\x80"))
		}))
}

// opcodes by name, for generated cases.
var opcodes = []struct {
	name string
	op   byte
}{{"text", opText}, {"binary", opBinary}, {"continuation", opContinuation}, {"close", opClose}, {"ping", opPing}, {"pong", opPong}}

// sendInPlace sends f where its opcode may stand: a continuation behind a first
// fragment.
func (c *conn) sendInPlace(f frame) {
	if f.op == opContinuation {
		c.send(text("Hel").part(), f)
		return
	}
	c.send(f)
}

// headerCases spoil the first bytes of a frame (RFC 6455 §5.2).
func headerCases() []Case {
	var cases []Case
	for _, o := range opcodes {
		payload := []byte("lo")
		if o.op == opClose {
			payload = closing(1000, "").payload
		}
		for rsv := byte(1); rsv <= 7; rsv++ {
			cases = append(cases, newCase(fmt.Sprintf("5.2-rsv-%03b-%s", rsv, o.name), Must,
				"a reserved bit that no extension defines: 1002", func(t *T) {
					c := t.open()
					c.sendInPlace(frame{op: o.op, payload: payload, rsv: rsv})
					c.wantClose(1002)
				}))
		}
		cases = append(cases, newCase("5.1-unmasked-"+o.name, Must, "a frame without a mask: 1002", func(t *T) {
			c := t.open()
			c.sendInPlace(frame{op: o.op, payload: payload, bare: true})
			c.wantClose(1002)
		}))
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cases = append(cases,
			newCase(fmt.Sprintf("5.2-opcode-%d", op), Must, "a frame with a reserved opcode: 1002", func(t *T) {
				c := t.open()
				c.send(frame{op: op, payload: []byte("reserved")})
				c.wantClose(1002)
			}),
			newCase(fmt.Sprintf("5.2-opcode-%d-behind", op), Must, "an empty frame with a reserved opcode behind a message: 1002", func(t *T) {
				c := t.open()
				c.send(text("before"), frame{op: op})
				c.wantCloseBehind("before", 1002)
			}))
	}
	cases = append(cases,
		newCase("5.1-unmasked-empty", Must, "an empty message without a mask: 1002", func(t *T) {
			c := t.open()
			c.send(frame{op: opText, bare: true})
			c.wantClose(1002)
		}),
		newCase("5.2-violation-behind", Convention, "what came before a violation in the same segment is echoed, what comes behind is not", func(t *T) {
			c := t.open()
			c.send(text("before"), frame{op: opText, payload: []byte("bad"), rsv: rsv3}, text("behind"))
			c.wantMessage(opText, []byte("before"))
			c.wantClose(1002)
		}))
	return append(cases, lengthCases()...)
}

// lengthCases spoil the length (RFC 6455 §5.2). Most of them announce more than
// is ever sent, so the verdict has to come from the header.
func lengthCases() []Case {
	var cases []Case
	wide := func(id string, f frame) {
		cases = append(cases, newCase("5.2-nonminimal-"+id, Must, "a length in more bytes than it needs: 1002", func(t *T) {
			c := t.open()
			c.sendInPlace(f)
			c.wantClose(1002)
		}))
	}
	wide("16-0", frame{op: opText, form: 2})
	wide("16", frame{op: opText, form: 2, payload: []byte("Hello")})
	wide("16-125", frame{op: opBinary, form: 2, payload: make([]byte, 125)})
	wide("16-continuation", frame{op: opContinuation, form: 2, payload: []byte("lo")})
	wide("16-ping", frame{op: opPing, form: 2, payload: []byte("Hello")})
	wide("16-close", frame{op: opClose, form: 2, payload: closing(1000, "").payload})
	wide("64-0", frame{op: opText, form: 8})
	wide("64", frame{op: opText, form: 8, payload: []byte("Hello")})
	wide("64-126", frame{op: opBinary, form: 8, payload: make([]byte, 126)})
	wide("64-65535", frame{op: opBinary, form: 8, payload: make([]byte, 65535)})
	wide("64-continuation", frame{op: opContinuation, form: 8, payload: []byte("lo")})
	wide("64-pong", frame{op: opPong, form: 8, payload: []byte("Hello")})

	lengths := []struct {
		id       string
		length   uint64
		severity Severity
		codes    []int
	}{
		{"2e63", 1 << 63, Must, []int{1002, 1009}},
		{"2e63-and-5", 1<<63 + 5, Must, []int{1002, 1009}},
		{"2e64-less-1", 1<<64 - 1, Must, []int{1002, 1009}},
		{"2e64-less-14", 1<<64 - 14, Must, []int{1002, 1009}},
		{"2e63-less-1", 1<<63 - 1, Should, []int{1009}},
		{"2e63-less-14", 1<<63 - 14, Should, []int{1009}},
		{"2e62", 1 << 62, Should, []int{1009}},
		{"2e40", 1 << 40, Should, []int{1009}},
	}
	for _, l := range lengths {
		doc := fmt.Sprintf("a length of %d is refused by its header: %s", l.length, statusList(l.codes))
		one := func(where string, before ...frame) {
			cases = append(cases, newCase("5.2-length-"+l.id+where, l.severity, doc, func(t *T) {
				c := t.open()
				op := byte(opBinary)
				if len(before) > 0 {
					op = opContinuation
				}
				c.write(append(join(before...), frame{op: op, announce: l.length}.header()...))
				c.wantClose(l.codes...)
			}))
		}
		one("")
		one("-continuation", bin([]byte("Hello")).part())
	}
	return cases
}
