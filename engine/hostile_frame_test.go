package engine

import (
	"encoding/binary"
	"io"
	"strings"
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// frameAttacks open properly and then send frames that they should not.
var frameAttacks = []hostile{
	{name: "announced 2^62", ceiling: 24, attack: announce},
	{name: "announced and begun", ceiling: 48, attack: beginMessages},
	{name: "fragments without end", ceiling: 24, cfg: Config{DiscardTimeout: 200 * time.Millisecond}, attack: fragments},
	{name: "zip bombs", ceiling: 32, cfg: Config{Deflate: DeflateTakeover, MessageBytesMax: bombLimit}, attack: bombs},
	{name: "reset in mid-frame", ceiling: 32, attack: resetInFrames},
	{name: "mutated sessions", ceiling: 64, attack: mutate},
}

// announcement is the header of a masked frame of n bytes.
func announcement(first byte, n uint64) string {
	return string(binary.BigEndian.AppendUint64([]byte{first, 0xff}, n)) + "\x00\x00\x00\x00"
}

// announce promises more than the limit. The answer comes at once, before any
// byte of the payload.
func announce(s *siege) {
	first := "\x02\x82\x00\x00\x00\x00ab" // the beginning of a message
	for wire, want := range map[string]protocol.CloseCode{
		announcement(0x82, 1<<62):                  protocol.CloseMessageTooBig,
		announcement(0x82, 1<<63-1):                protocol.CloseMessageTooBig,
		announcement(0x82, 16<<20+1):               protocol.CloseMessageTooBig,
		announcement(0x82, 1<<63):                  protocol.CloseProtocolError,
		announcement(0x82, 1<<64-1):                protocol.CloseProtocolError,
		announcement(0x89, 1<<62):                  protocol.CloseProtocolError,
		announcement(0x80, 1):                      protocol.CloseProtocolError,
		first + announcement(0x80, 16<<20-1):       protocol.CloseMessageTooBig,
		first + announcement(0x80, 1<<63-1):        protocol.CloseMessageTooBig,
		first + announcement(0x80, 1<<62) + "more": protocol.CloseMessageTooBig,
	} {
		for range s.n(2, 50) {
			c := s.open()
			_, _ = io.WriteString(c, wire)
			if info := c.closed(); info == nil || info.Code != want {
				s.t.Errorf("%x was answered with %v, want %d", wire, info, want)
			}
		}
	}
}

// beginMessages announces as much as it may, many times, and sends little of it.
func beginMessages(s *siege) {
	before, n := heap(), s.n(200, 1000) // 3.2 GiB announced
	for _, nc := range s.connectMany(n) {
		_, _ = io.WriteString(nc, upgradeHead()+announcement(0x82, 16<<20)+strings.Repeat("x", 1000))
	}
	s.await("what was sent", func() bool {
		held := 0
		for _, w := range s.running() {
			lent := make(chan int, 1)
			_ = w.post(post{do: func() { lent <- w.env.Buffers.Lent() }})
			held += <-lent
		}
		return held == n
	})
	if each := (heap() - before) / n; each > 8<<10 { // both ends
		s.t.Errorf("%d bytes of heap for 1,000 that came of 16 MiB announced", each)
	}
}

// fragments sends a message of very many very small pieces.
func fragments(s *siege) {
	for _, fragment := range []string{"\x00\x80\x00\x00\x00\x00", "\x00\x81\x00\x00\x00\x00x"} {
		for range s.n(2, 20) {
			c := s.open()
			_, err := io.WriteString(c, "\x01\x80\x00\x00\x00\x00")
			for piece := []byte(strings.Repeat(fragment, 1000)); err == nil; {
				_, err = c.Write(piece) // until it is cut
			}
			if ev, err := c.next(); err != nil || ev.Kind != codec.Close || c.env.Closed.Code != protocol.CloseMessageTooBig {
				s.t.Errorf("answered with %+v %v", ev, err)
			}
		}
	}
}

// resetInFrames resets at every kind of place within valid frames.
func resetInFrames(s *siege) {
	c := newClient(s.t, nil, &codec.Options{Role: codec.Client})
	wire := "\x01\x85\x00\x00\x00\x00begin\x89\x84\x00\x00\x00\x00ping\x80\x83\x00\x00\x00\x00end"
	for _, size := range []int{10, 1000, 100_000} {
		c.env.Out, _ = c.session.Encode(&c.env, c.env.Out, protocol.OpText, []byte(strings.Repeat("x", size)), false)
	}
	wire += string(c.env.Out)
	for i := range s.n(200, 5000) {
		cut := i
		if i > 60 {
			cut = s.rand.IntN(len(wire))
		}
		nc := s.connect()
		_, _ = io.WriteString(nc, upgradeHead()+wire[:cut])
		if i%2 == 0 { // some are served first
			_, _ = nc.Read(make([]byte, 1))
		}
		abort(nc)
	}
}
