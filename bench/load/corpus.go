//go:build linux

package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"

	"github.com/klauspost/compress/flate"

	"github.com/sockmill/sockmill/protocol"
)

// variants is how many different messages there are. It is prime to the
// numbers in flight, so that a connection does not see the same ones in each batch.
const variants = 17

var words = []string{
	"the", "loop", "socket", "of", "a", "message", "player", "moves", "to", "and", "left", "room", "seven", "score",
	"again", "who", "has", "seen", "our", "new", "map", "with", "nine", "towers", "tonight", "at", "harbour", "I",
	"would", "rather", "wait", "for", "rain", "than", "cross", "bridge", "now", "hello", "everybody", "good", "game",
}

// corpus is the fixed set of messages, each a JSON object of exactly size bytes,
// in ASCII, as a chat or a game sends them.
func corpus(size int) [][]byte {
	r := rand.New(rand.NewPCG(6455, 7692))
	all := make([][]byte, variants)
	for i := range all {
		b := fmt.Appendf(nil, `{"id":%d,"room":"r%d","user":"u%03d","x":%d,"y":%d,"text":"`,
			10000+r.IntN(89999), r.IntN(10), r.IntN(1000), r.IntN(4096), r.IntN(4096))
		for len(b) < size {
			b = append(append(b, words[r.IntN(len(words))]...), ' ')
		}
		if size >= 2 { // shorter ones are no JSON, but text
			b = append(b[:size-2], `"}`...)
		}
		all[i] = b[:size]
	}
	return all
}

// script is what a connection sends: the frames of the corpus again and again.
// They lie one after the other, more than one cycle of them, so that whatever is in
// flight lies together wherever it begins.
type script struct {
	bytes []byte
	at    []int // where a frame begins; one entry more than there are frames
	lead  int   // frames before the first cycle
}

// newScript has lead frames, and then cycles until inFlight frames lie together
// after any of the first cycle.
func newScript(frame func(i int) []byte, lead, inFlight int) *script {
	s := &script{at: []int{0}, lead: lead}
	for i := range lead + variants + inFlight {
		s.bytes = append(s.bytes, frame(i)...)
		s.at = append(s.at, len(s.bytes))
	}
	return s
}

// cycle is a script that begins with its first cycle.
func cycle(frames [][]byte, inFlight int) *script {
	return newScript(func(i int) []byte { return frames[i%variants] }, 0, inFlight)
}

// windowBits is the window of context takeover.
const windowBits = 12

// takeover is a script of compressed messages, each with the help of those before
// it that the window holds beside it.
func takeover(payloads [][]byte, inFlight int) *script {
	reach := max(0, 1<<windowBits/len(payloads[0])-1)
	return newScript(func(i int) []byte {
		var before []byte
		for n := max(0, i-reach); n < i; n++ {
			before = append(before, payloads[n%variants]...)
		}
		return masked(deflated(payloads[i%variants], before), protocol.Rsv1, i)
	}, reach, inFlight)
}

// masked is the frame of text in which a client sends payload; its key is by the number n.
func masked(payload []byte, rsv byte, n int) []byte {
	return appendMasked(nil, protocol.OpText, payload, rsv, n)
}

// appendMasked appends a frame like that of masked to b.
func appendMasked(b []byte, op protocol.Opcode, payload []byte, rsv byte, n int) []byte {
	h := protocol.Header{
		Fin: true, Rsv: rsv, Opcode: op, Masked: true,
		Key: [4]byte{0x9a, 0x31, byte(0xc5 + n), byte(7 * n)}, Length: int64(len(payload)),
	}
	b = append(protocol.AppendHeader(b, h), payload...)
	protocol.Mask(b[len(b)-len(payload):], h.Key, 0)
	return b
}

// plain is the frame in which a server sends payload.
func plain(payload []byte) []byte {
	h := protocol.Header{Fin: true, Opcode: protocol.OpText, Length: int64(len(payload))}
	return append(protocol.AppendHeader(nil, h), payload...)
}

// deflated is payload compressed as RFC 7692 §7.2.1 wants it, with the help of what
// was sent before it.
func deflated(payload, before []byte) []byte {
	var b bytes.Buffer
	w, err := flate.NewWriterDict(&b, 6, before)
	if err == nil {
		_, err = w.Write(payload)
	}
	if err == nil {
		err = w.Flush()
	}
	if err != nil {
		panic(err) // memory does not fail
	}
	return bytes.TrimSuffix(b.Bytes(), []byte{0, 0, 0xff, 0xff})
}
