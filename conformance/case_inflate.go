package conformance

import (
	"bytes"
	"slices"
	"strings"

	"github.com/klauspost/compress/flate"
)

// deflateDataCases echo payloads of all sizes under all parameters.
func deflateDataCases() []Case {
	offers := []struct{ id, offer string }{
		{"plain", deflateName},
		{"server-reset", deflateName + "; " + serverReset},
		{"client-reset", deflateName + "; " + clientReset},
		{"both-reset", deflateName + "; " + serverReset + "; " + clientReset},
		{"server-bits-9", offerOf(serverBits, 9)},
		{"server-bits-9-reset", offerOf(serverBits, 9) + "; " + serverReset},
		{"client-bits-9", offerOf(clientBits, 9)},
		{"client-bits", deflateName + "; " + clientBits},
	}
	kinds := []struct {
		name string
		fill func(t *T, n int) []byte
	}{
		{"same", func(_ *T, n int) []byte { return bytes.Repeat([]byte("a"), n) }},
		{"words", func(t *T, n int) []byte { return t.words(n) }},
		{"random", func(t *T, n int) []byte { return t.noise(n) }},
	}
	var cases []Case
	for _, o := range offers {
		for _, k := range kinds {
			id := "7692-7.2-sizes-" + o.id + "-" + k.name
			cases = append(cases, newCase(id, Must, "compressed messages of 0 bytes to 64 KiB are echoed", func(t *T) {
				c := t.openDeflate(o.offer)
				fill := func(n int) []byte { return k.fill(t, n) }
				c.echoSizes(fill, 0, 1, 2, 16, 64, 125, 126, 256, 1024, 4096, 8192, 16384, 32767, 32769, 65536, 0, 16)
			}))
		}
	}
	levels := []struct {
		name  string
		level int
	}{{"stored", flate.NoCompression}, {"huffman", flate.HuffmanOnly}, {"fast", flate.BestSpeed}, {"best", flate.BestCompression}}
	for _, l := range levels {
		cases = append(cases, newCase("7692-7.2.1-level-"+l.name, Must, "messages that were compressed in another way are understood", func(t *T) {
			c := t.openDeflate(deflateName)
			var out bytes.Buffer
			w, err := flate.NewWriter(&out, l.level)
			if err != nil {
				panic(err) // the levels are legal
			}
			for _, n := range []int{1, 100, 5000, 100_000} {
				payload := t.words(n)
				if c.deflate.clientReset {
					w.Reset(&out)
				}
				wire := packed(opText, compress(w, &out, payload)).wire()
				c.stream(func(yield func([]byte) bool) { yield(wire) })
				c.wantMessage(opText, payload)
			}
		}))
	}
	for _, k := range kinds {
		cases = append(cases, newCase("7692-6.2-megabyte-"+k.name, Must, "a compressed message of 1 MiB is echoed, whole and in fragments of 1000 bytes", func(t *T) {
			c := t.openDeflate(deflateName)
			payload := k.fill(t, 1<<20)
			for _, n := range []int{1 << 20, 1000} {
				wire := join(packedFragments(opBinary, c.deflate.pack(payload), n)...)
				c.stream(func(yield func([]byte) bool) { yield(wire) })
				c.wantMessage(opBinary, payload)
			}
		}))
	}
	return cases
}

// words returns n bytes of text that compresses about as well as prose.
func (t *T) words(n int) []byte {
	vocabulary := make([][]byte, 500)
	for i := range vocabulary {
		vocabulary[i] = append(t.letters(1+t.random.IntN(9)), ' ')
	}
	var b []byte
	for len(b) < n {
		b = append(b, vocabulary[t.random.IntN(len(vocabulary))]...)
	}
	return b[:n]
}

// corruption is a payload that is no DEFLATE data.
type corruption struct {
	id, doc string
	payload []byte
}

func corruptions() []corruption {
	bits := func() *bitWriter { return &bitWriter{} }
	dynamic := func(literals, distances, codes int) *bitWriter { // the header of a dynamic block
		return bits().put(0b100, 3).put(literals-257, 5).put(distances-1, 5).put(codes-4, 4)
	}
	return []corruption{
		{"type", "the reserved block type", []byte{0x06, 0x00}},
		{"stored-length", "a stored block whose LEN and NLEN disagree", []byte{0x00, 0x05, 0x00, 0x05, 0x00, 'H', 'e', 'l', 'l', 'o', 0x00}},
		{"stored-cut", "a message that ends inside a stored block", []byte{0x00, 0x64, 0x00, 0x9b, 0xff, 'H', 'e'}},
		{"fixed-cut", "a message that ends inside a block of the fixed codes", bits().fixed().literals("Hello, world").put(0x7f, 7).b},
		{"distance-first", "a match before the first byte", bits().fixed().match(5, 1).flushed()},
		{"distance-far", "a match that reaches back too far", bits().fixed().literals("Hello").match(5, 6).flushed()},
		{"distance-symbol", "a reserved distance symbol", bits().fixed().literals("Hello").symbol(257).code(30, 5).flushed()},
		{"length-symbol", "a reserved length symbol", bits().fixed().literals("Hello").symbol(286).code(0, 5).flushed()},
		{"dynamic-symbols", "a dynamic block with 288 literal symbols", dynamic(288, 1, 19).put(0, 60).align().b},
		{"dynamic-oversubscribed", "a dynamic block with more codewords than fit", dynamic(257, 1, 19).put(0o1111111111111111111, 57).align().b},
		{"dynamic-empty", "a dynamic block without any codeword", append(dynamic(257, 1, 19).put(0, 57).align().b, make([]byte, 64)...)},
		{"noise", "noise", []byte("\xff\xfe\xfd this is no deflate data at all")},
	}
}

// corruptCases: what cannot be inflated. RFC 7692 leaves the close code open.
func corruptCases() []Case {
	var cases []Case
	for _, k := range corruptions() {
		cases = append(cases, newCase("7692-7.2.2-corrupt-"+k.id, Convention, k.doc+": 1007", func(t *T) {
			c := t.openDeflate(deflateName)
			c.send(packed(opBinary, k.payload))
			c.wantClose(1007)
		}))
	}
	return append(cases,
		newCase("7692-7.2.2-corrupt-fragments", Convention, "corrupt data in fragments of one byte: 1007", func(t *T) {
			c := t.openDeflate(deflateName)
			c.send(packedFragments(opBinary, []byte{0x00, 0x05, 0x00, 0x05, 0x00, 'H', 'e', 'l', 'l', 'o', 0x00}, 1)...)
			c.wantClose(1007)
		}),
		newCase("7692-7.2.2-corrupt-behind", Convention, "corrupt data behind a good message: its echo, then 1007", func(t *T) {
			c := t.openDeflate(deflateName)
			good := []byte(strings.Repeat("good ", 100))
			c.send(packed(opText, c.deflate.pack(good)), packed(opText, []byte{0x06, 0x00}))
			c.wantMessage(opText, good)
			c.wantClose(1007)
		}))
}

// bombCases: a little that inflates to very much (RFC 6455 §10.4).
func bombCases() []Case {
	// bomb is n MiB of zeros.
	bomb := func(n int) []byte {
		var out bytes.Buffer
		w, err := flate.NewWriter(&out, flate.BestCompression)
		if err != nil {
			panic(err) // the level is legal
		}
		megabyte := append(compress(w, &out, make([]byte, 1<<20)), 0, 0, 0xff, 0xff)
		return append(slices.Repeat(megabyte, n), 0)
	}
	explode := func(id, doc string, frames func(payload []byte) []frame) Case {
		return newCase("10.4-bomb-"+id, Should, doc+": 1009 or 1007, and a fresh client is served", func(t *T) {
			c := t.openDeflate(deflateName)
			wire := join(frames(bomb(1024))...)
			c.stream(func(yield func([]byte) bool) {
				for piece := range slices.Chunk(wire, 64<<10) {
					if !yield(piece) {
						return
					}
				}
			})
			c.wantClose(1009, 1007)
			t.fresh()
		})
	}
	return alone([]Case{
		explode("whole", "a gigabyte of zeros in one frame", func(p []byte) []frame { return []frame{packed(opBinary, p)} }),
		explode("fragmented", "a gigabyte of zeros in fragments", func(p []byte) []frame { return packedFragments(opBinary, p, 5000) }),
		explode("text", "a gigabyte of zeros as text", func(p []byte) []frame { return []frame{packed(opText, p)} }),
		newCase("10.4-bomb-unfinished", Should, "a gigabyte of zeros in a message that does not end: a fresh client is served", func(t *T) {
			c := t.openDeflate(deflateName)
			frames := packedFragments(opBinary, bomb(1024), 64<<10)
			frames[len(frames)-1].more = true
			wire := join(frames...)
			c.stream(func(yield func([]byte) bool) { yield(wire) })
			t.fresh()
		}),
	})
}
