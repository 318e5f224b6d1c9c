package conformance

import (
	"slices"
	"strings"
)

// deflateVectorCases play the examples of RFC 7692 §7.2.3 and what else a
// compressor may write.
func deflateVectorCases() []Case {
	hello := []byte("Hello")
	vector := func(id, doc string, payload []byte, want string) Case {
		return newCase("7692-"+id, Must, doc, func(t *T) {
			c := t.openDeflate(deflateName)
			for range 2 {
				c.send(packed(opText, payload))
				c.wantMessage(opText, []byte(want))
			}
			c.wantAlive()
		})
	}
	bits := func() *bitWriter { return &bitWriter{} }
	return []Case{
		vector("7.2.3.1-one-block", "a message in one block", []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, "Hello"),
		vector("7.2.3.3-stored", "a stored block", []byte{0x00, 0x05, 0x00, 0xfa, 0xff, 'H', 'e', 'l', 'l', 'o', 0x00}, "Hello"),
		vector("7.2.3.4-final", "a block with BFINAL", []byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}, "Hello"),
		vector("7.2.3.5-two-blocks", "two blocks",
			[]byte{0xf2, 0x48, 0x05, 0x00, 0x00, 0x00, 0xff, 0xff, 0xca, 0xc9, 0xc9, 0x07, 0x00}, "Hello"),
		vector("7.2.3.6-empty", "an empty message as the byte 00", []byte{0x00}, ""),
		vector("7.2.3.6-empty-fixed", "an empty message as an empty block of the fixed codes", []byte{0x02, 0x00}, ""),
		vector("7.2.3.4-behind-final", "a block behind one with BFINAL",
			append([]byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, bits().fixed().literals(", world").flushed()...), "Hello, world"),
		vector("7.2.3.4-two-finals", "two blocks with BFINAL",
			[]byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00}, "HelloHello"),
		vector("7.2.3.4-final-reach", "a block behind one with BFINAL that reaches back into it",
			append([]byte{0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}, bits().fixed().match(5, 5).flushed()...), "HelloHello"),
		vector("7.2.3.5-many-blocks", "a hundred empty stored blocks between two others", slices.Concat(
			bits().fixed().literals("Hel").flushed(), slices.Repeat([]byte{0, 0, 0xff, 0xff, 0}, 100), []byte{0, 0, 0xff, 0xff},
			bits().fixed().literals("lo").flushed()), "Hello"),
		vector("7.2.1-untrimmed", "a message whose 00 00 FF FF was not cut off, with an empty block behind",
			append(bits().fixed().literals("Hello").flushed(), 0, 0, 0xff, 0xff, 0), "Hello"),
		vector("1951-3.2.5-overlap", "a match that overlaps itself", bits().fixed().literals("ab").match(10, 2).match(3, 1).flushed(), "ab"+"ababababab"+"bbb"),
		newCase("7692-7.2.3.2-takeover", Must, "a message that reaches back into the one before", func(t *T) {
			c := t.openTakeover()
			c.send(packed(opText, []byte{0xf2, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00}))
			c.wantMessage(opText, hello)
			for range 3 {
				c.send(packed(opText, []byte{0xf2, 0x00, 0x11, 0x00, 0x00}))
				c.wantMessage(opText, hello)
			}
		}),
		newCase("7692-7.2.2-takeover-uncompressed", Must, "uncompressed messages in between do not enter the window", func(t *T) {
			c := t.openTakeover()
			c.echoPacked(opText, hello)
			c.echo(opText, []byte("not in the window"))
			c.send(packed(opText, []byte{0xf2, 0x00, 0x11, 0x00, 0x00}))
			c.wantMessage(opText, hello)
		}),
		newCase("7692-7.2.2-takeover-fragments", Must, "a fragmented message enters the window as a whole", func(t *T) {
			c := t.openDeflate(deflateName)
			for range 5 {
				payload := c.deflate.pack([]byte(strings.Repeat("Hello, window! ", 20)))
				c.send(packedFragments(opText, payload, 3)...)
				c.wantMessage(opText, []byte(strings.Repeat("Hello, window! ", 20)))
			}
		}),
	}
}

// packedFragments cuts a compressed message: only the first frame has RSV1.
func packedFragments(op byte, payload []byte, n int) []frame {
	frames := fragments(op, payload, n)
	frames[0].rsv = rsv1
	return frames
}

// compressed is what the cases of frames compress.
const compressed = "Hello, compressed world"

// deflateFrameCases: where compression meets framing (RFC 7692 §6).
func deflateFrameCases() []Case {
	hello := []byte(compressed)
	plain := func(id, doc string, run func(t *T, c *conn)) Case {
		return newCase("7692-"+id, Must, doc, func(t *T) { run(t, t.openDeflate(deflateName)) })
	}
	return []Case{
		plain("6-uncompressed", "uncompressed messages on a connection that compresses are echoed", func(_ *T, c *conn) {
			c.echo(opText, hello)
			c.echoPacked(opBinary, hello)
			c.echo(opBinary, hello)
			c.send(fragments(opText, hello, 5)...)
			c.wantMessage(opText, hello)
		}),
		plain("6.2-everywhere", "a compressed message may be cut in two fragments at each byte, the empty cuts included", func(_ *T, c *conn) {
			for i := 0; ; i++ {
				payload := c.deflate.pack(hello)
				i := min(i, len(payload))
				c.send(packed(opText, payload[:i]).part(), frame{payload: payload[i:]})
				c.wantMessage(opText, hello)
				if i == len(payload) {
					return
				}
			}
		}),
		plain("6.2-bytes", "a compressed message in fragments of one byte, with empty ones between", func(_ *T, c *conn) {
			var frames []frame
			for _, f := range packedFragments(opText, c.deflate.pack(hello), 1) {
				if f.op == opContinuation {
					frames = append(frames, rest("").part())
				}
				frames = append(frames, f)
			}
			c.send(frames...)
			c.wantMessage(opText, hello)
		}),
		plain("6.2-dribbled", "a compressed message that arrives byte by byte", func(_ *T, c *conn) {
			c.dribble(packed(opText, c.deflate.pack(hello)).wire())
			c.wantMessage(opText, hello)
		}),
		plain("6.2-one-segment", "a hundred compressed messages in one segment come back in order", packedInOneSegment),
		plain("6-ping-between", "a ping between compressed fragments is answered, uncompressed", func(_ *T, c *conn) {
			payload := c.deflate.pack(hello)
			c.send(packed(opText, payload[:4]).part(), ping("now"))
			c.wantPong([]byte("now"))
			c.send(frame{payload: payload[4:]})
			c.wantMessage(opText, hello)
		}),
		plain("6.1-control", "pongs and close frames are not compressed", func(_ *T, c *conn) {
			long := strings.Repeat("a", 125)
			c.send(ping(long))
			c.wantPong([]byte(long))
			c.send(closing(1000, ""))
			c.wantClose(1000)
		}),
		plain("6-many", "a thousand compressed messages", func(t *T, c *conn) {
			for i := range 1000 {
				c.echoPacked(opText, append(t.letters(i%200), hello...))
			}
		}),
		plain("6.1-utf8", "code points that lie across compressed fragments", func(_ *T, c *conn) {
			s := []byte("\u65e5\u672c\u8a9e \U0001f600 \u20ac")
			c.send(packedFragments(opText, (&bitWriter{}).fixed().literals(string(s)).flushed(), 1)...)
			c.wantMessage(opText, s)
		}),
	}
}

func packedInOneSegment(t *T, c *conn) {
	var frames []frame
	var want [][]byte
	for range 100 {
		want = append(want, append(t.letters(20), compressed...))
		frames = append(frames, packed(opText, c.deflate.pack(want[len(want)-1])))
	}
	c.send(frames...)
	for _, w := range want {
		c.wantMessage(opText, w)
	}
}

// deflateViolationCases: what compression does not allow either.
func deflateViolationCases() []Case {
	var cases []Case
	violation := func(id, doc string, frames func(c *conn) []frame, codes ...int) {
		cases = append(cases, newCase("7692-"+id, Must, doc, func(t *T) {
			c := t.openDeflate(deflateName)
			c.send(frames(c)...)
			c.wantClose(codes...)
		}))
	}
	for _, o := range opcodes {
		payload := closing(1000, "").payload
		for _, bits := range []struct {
			name string
			rsv  byte
		}{{"1", rsv1}, {"2", rsv2}, {"3", rsv3}, {"12", rsv1 | rsv2}, {"13", rsv1 | rsv3}} {
			if bits.rsv == rsv1 && o.op != opContinuation && o.op < opClose {
				continue // that is what it is for
			}
			violation("6-rsv"+bits.name+"-"+o.name, "a reserved bit where compression gives it no meaning: 1002", func(*conn) []frame {
				f := frame{op: o.op, payload: payload, rsv: bits.rsv}
				if o.op == opContinuation {
					return []frame{text("Hel").part(), f}
				}
				return []frame{f}
			}, 1002)
		}
	}
	violation("6.1-rsv1-all-fragments", "RSV1 on the continuation of a compressed message: 1002", func(c *conn) []frame {
		payload := c.deflate.pack([]byte(compressed))
		return []frame{packed(opText, payload[:4]).part(), {payload: payload[4:], rsv: rsv1}}
	}, 1002)
	violation("8.1-invalid", "a compressed text that is not UTF-8: 1007", func(c *conn) []frame {
		return []frame{packed(opText, c.deflate.pack([]byte("caf\xe9 au lait")))}
	}, 1007)
	violation("8.1-invalid-fragments", "a compressed text in fragments that is not UTF-8: 1007", func(c *conn) []frame {
		return packedFragments(opText, c.deflate.pack([]byte("\xed\xa0\x80 surrogate")), 2)
	}, 1007)
	violation("8.1-incomplete", "a compressed text that ends inside a code point: 1007", func(c *conn) []frame {
		return []frame{packed(opText, c.deflate.pack([]byte("euro \xe2\x82")))}
	}, 1007)
	return cases
}
