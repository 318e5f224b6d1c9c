package codec_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

var vocabulary = strings.Fields(`the a of and to you we they meeting tomorrow room again later coffee please look
	at this works for me maybe next week thanks sure great server player attack left right joined over there`)

// talk is what a chat and a game say to one of their clients, in JSON messages of
// about size bytes; the same every time.
func talk(n, size int) (messages [][]byte) {
	r := rand.New(rand.NewPCG(7692, 2015))
	for len(messages) < n {
		var b []byte
		for i := 0; len(b) < size*9/10; i++ {
			if len(messages)%2 == 0 {
				b = fmt.Appendf(b, `{"type":"chat","room":"r%d","from":{"id":%d,"name":"user%d"},"at":%d,"text":"`,
					r.IntN(5), r.IntN(100_000), r.IntN(500), 1_700_000_000_000+len(messages)*317)
				for range 4 + r.IntN(16) {
					b = append(append(b, vocabulary[r.IntN(len(vocabulary))]...), ' ')
				}
				b = append(b, `"}`...)
			} else {
				b = fmt.Appendf(b, `{"type":"state","tick":%d,"player":{"id":%d,"x":%.2f,"y":%.2f,"vx":%.3f,"vy":%.3f,"hp":%d}}`,
					len(messages), r.IntN(200), 1000*r.Float64(), 1000*r.Float64(), r.Float64(), r.Float64(), r.IntN(100))
			}
		}
		messages = append(messages, b)
	}
	return messages
}

// pipe is a server that agreed to compression, and a client in the same state.
func pipe(tb testing.TB, d *codec.Deflate) (server, client *side) {
	server, client = newSide(tb, with(limits(), d)), newSide(tb, with(clientLimits(), d))
	server.feed(string(client.env.Out))
	client.feed(string(server.env.Out))
	if client.s.State() != codec.StateOpen {
		tb.Fatal(client.log)
	}
	return server, client
}

// variants are what the benchmarks compare: the history that is kept, as a power
// of two; 0: no takeover.
func variants(b *testing.B, f func(b *testing.B, d *codec.Deflate, messages [][]byte)) {
	for _, size := range []int{200, 500, 1 << 10, 4 << 10} {
		messages := talk(2000, size)
		for _, level := range []int{1, 3, 6} {
			for _, bits := range []int{0, 10, 11, 12, 13, 15} {
				d := all()
				d.Level = level
				history := "none"
				if bits == 0 {
					d.ServerTakeover, d.ClientTakeover = false, false
				} else {
					d.HistoryBits, d.ClientMaxWindowBits = bits, bits
					history = fmt.Sprint(1 << bits)
				}
				b.Run(fmt.Sprintf("size=%d/level=%d/history=%s", size, level, history), func(b *testing.B) { f(b, d, messages) })
			}
		}
	}
}

// BenchmarkDeflate is a server that sends. The tables of docs/DEFLATE.md come
// from here.
func BenchmarkDeflate(b *testing.B) {
	variants(b, func(b *testing.B, d *codec.Deflate, messages [][]byte) {
		server, _ := pipe(b, d)
		before, wire, i := 0, 0, 0
		b.ReportAllocs()
		for b.Loop() {
			m := messages[i%len(messages)]
			i++
			server.env.Out, _ = server.s.Encode(server.env, server.env.Out[:0], protocol.OpText, m, false)
			before, wire = before+2+len(m), wire+len(server.env.Out)
		}
		b.ReportMetric(float64(before)/float64(i), "B/plain")
		b.ReportMetric(float64(wire)/float64(i), "B/wire")
		b.ReportMetric(float64(server.s.Held()), "B/conn")
	})
}

// BenchmarkInflate is a server that receives the same.
func BenchmarkInflate(b *testing.B) {
	variants(b, func(b *testing.B, d *codec.Deflate, messages [][]byte) {
		server, client := pipe(b, d)
		var wire [][]byte
		for _, m := range messages {
			frame, _ := client.s.Encode(client.env, nil, protocol.OpText, m, false)
			wire = append(wire, frame)
		}
		var in []byte
		i := 0
		b.ReportAllocs()
		for b.Loop() {
			if i%len(wire) == 0 && i > 0 { // from the start, as a new connection
				b.StopTimer()
				server.s.Release(server.env)
				server, _ = pipe(b, d)
				b.StartTimer()
			}
			in = append(in[:0], wire[i%len(wire)]...)
			i++
			ev, n := server.s.Decode(server.env, in)
			if ev.Kind != codec.Message || n != len(in) {
				b.Fatalf("%+v", ev)
			}
		}
		server.s.Decode(server.env, nil)
		b.ReportMetric(float64(server.s.Held()), "B/conn")
	})
}
