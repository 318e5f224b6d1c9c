package conformance

import (
	"bytes"
	"fmt"
	"slices"
)

// limitCases echo large messages, and announce larger ones. A server may have a
// smaller limit than these; then it has to say 1009, or 1008 for a limit of another kind.
func limitCases() []Case {
	var cases []Case
	sizes := []struct {
		name string
		n    int
	}{{"64k", 64 << 10}, {"1m", 1 << 20}, {"4m", 4 << 20}, {"16m", 16 << 20}}
	for _, s := range sizes {
		for _, o := range opcodes[:2] {
			add := func(way string, bytesMax int) {
				doc := fmt.Sprintf("a %s message of %d bytes, %s, is echoed", o.name, s.n, way)
				cases = append(cases, newCase("10.4-"+s.name+"-"+o.name+"-"+way, Convention, doc, func(t *T) {
					t.echoLarge(o.op, s.n, bytesMax)
				}))
			}
			add("whole", s.n)
			if s.n > 64<<10 {
				add("fragmented", 64<<10)
			}
			if s.n == 4<<20 {
				add("shredded", 64)
			}
		}
	}
	return alone(append(cases, announceCases()...))
}

// echoLarge sends a message of n bytes in fragments of at most fragmentMax.
func (t *T) echoLarge(op byte, n, fragmentMax int) {
	c := t.open()
	payload := slices.Repeat(t.letters(4099), n/4099+1)[:n] // 4099 is prime: no two pages are alike
	wire := join(fragments(op, payload, fragmentMax)...)
	c.stream(func(yield func([]byte) bool) {
		for piece := range slices.Chunk(wire, 64<<10) {
			if !yield(piece) {
				return
			}
		}
	})
	f := c.next("the echo of a large message")
	code := bytes.HasPrefix(f.payload, closing(1009, "").payload) || bytes.HasPrefix(f.payload, closing(1008, "").payload)
	if f.op == opClose && code && n > 64<<10 {
		t.Skipf("the server's limit is lower: it closed with %v", f)
	}
	if f.op != op || !bytes.Equal(f.payload, payload) {
		t.Failf("%v came in place of the echo of %v", f, frame{op: op, payload: payload})
	}
	c.wantAlive()
}

// announceCases: what is announced is not yet there (RFC 6455 §10.4).
func announceCases() []Case {
	return []Case{
		newCase("10.4-announced", Should, "a hundred frames that announce 16 MiB and bring ten bytes do not hinder a fresh client", func(t *T) {
			for range 100 {
				t.open().write(frame{op: opBinary, payload: t.noise(10), announce: 16 << 20}.wire())
			}
			t.fresh()
		}),
		newCase("10.4-announced-huge", Should, "frames that announce 2 GiB to 2^62 bytes do not hinder a fresh client", func(t *T) {
			for shift := 31; shift <= 62; shift++ {
				t.open().write(frame{op: opBinary, payload: t.noise(10), announce: 1 << shift}.wire())
			}
			t.fresh()
		}),
		newCase("10.4-announced-fragments", Should, "continuations that announce huge lengths behind 64 KiB do not hinder a fresh client", func(t *T) {
			for shift := 31; shift <= 62; shift++ {
				c := t.open()
				c.send(bin(t.noise(64 << 10)).part())
				c.write(frame{op: opContinuation, announce: 1 << shift}.header())
			}
			t.fresh()
		}),
	}
}
