package engine

import (
	"time"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// frameScan finds the headers of frames in a stream that is cut anywhere.
type frameScan struct {
	header [protocol.HeaderBytesMax]byte // of the next frame, as far as it came
	size   int                           // of that
	left   int64                         // bytes of the payload of a frame that are still to come
	frame  TappedFrame                   // whose payload is being gathered
	key    [4]byte                       // of its mask, if what comes is still masked
	masked bool
	open   bool // frame has not been shown
	broken bool // the stream is no stream of frames any more
}

// scan takes the next bytes of the stream. It calls show for each frame as soon as as
// much of its payload has come as is wanted, with memory of the frame's own.
func (s *frameScan) scan(b []byte, wanted int, masked bool, show func(TappedFrame)) {
	for len(b) > 0 && !s.broken {
		if s.left > 0 {
			n := min(int64(len(b)), s.left)
			s.keep(b[:n], wanted)
			s.left -= n
			b = b[n:]
			s.showIf(s.left == 0 || len(s.frame.Payload) >= wanted, show)
			continue
		}
		before := s.size
		s.size += copy(s.header[before:], b)
		h, n, err := protocol.ParseHeader(s.header[:s.size])
		if err != nil {
			s.broken = true
			return
		}
		if n == 0 {
			return
		}
		b = b[n-before:]
		s.size, s.left, s.open = 0, h.Length, true
		s.frame = TappedFrame{Framed: true, Opcode: h.Opcode, Fin: h.Fin, Rsv: h.Rsv, Masked: h.Masked, Length: h.Length}
		s.key, s.masked = h.Key, h.Masked && masked
		s.showIf(s.left == 0 || wanted == 0, show)
	}
}

// keep gathers a piece of the payload of the frame at hand.
func (s *frameScan) keep(piece []byte, wanted int) {
	at := len(s.frame.Payload)
	if !s.open || at >= wanted {
		return
	}
	s.frame.Payload = append(s.frame.Payload, piece[:min(len(piece), wanted-at)]...)
	if s.masked {
		protocol.Mask(s.frame.Payload[at:], s.key, at&3)
	}
}

func (s *frameScan) showIf(due bool, show func(TappedFrame)) {
	if due && s.open {
		s.open = false
		show(s.frame)
		s.frame.Payload = nil
	}
}

// wanted is how much of a payload somebody wants to see.
func (x *tapped) wanted() (bytes int) {
	for _, t := range x.taps {
		bytes = max(bytes, t.payload)
	}
	return bytes
}

// shower returns what shows frames to all who look.
func (x *tapped) shower(in bool) func(TappedFrame) {
	at := x.c.ep.e.began.Add(x.c.ep.e.elapsed())
	return func(f TappedFrame) { x.show(f, in, at) }
}

func (x *tapped) show(f TappedFrame, in bool, at time.Time) {
	f.In, f.At = in, at
	for _, t := range x.taps {
		t.add(f)
	}
}

// decoded is told what the codec took of the input, where it has unmasked it, and the
// event that it returned.
func (x *tapped) decoded(taken []byte, ev codec.Event) {
	switch {
	case x.c.codec == &x.c.ws:
		x.in.scan(taken, x.wanted(), false, x.shower(true))
	case ev.Kind == codec.Message:
		f := TappedFrame{Opcode: ev.Opcode, Length: int64(len(ev.Data))}
		if n := min(x.wanted(), len(ev.Data)); n > 0 {
			f.Payload = append(f.Payload, ev.Data[:n]...)
		}
		x.shower(true)(f)
	}
}

// writing is told what is about to be written. Writing may change the list of pieces.
func (x *tapped) writing(pieces [][]byte) { x.pieces = append(x.pieces[:0], pieces...) }

// wrote is told how many bytes of it the kernel took, or TLS for it.
func (x *tapped) wrote(n int) {
	wanted, show := x.wanted(), x.shower(false)
	f := TappedFrame{Length: int64(n)}
	for _, p := range x.pieces {
		p = p[:min(len(p), n)]
		if n -= len(p); x.c.codec == &x.c.ws {
			x.out.scan(p, wanted, true, show)
		} else if room := wanted - len(f.Payload); room > 0 {
			f.Payload = append(f.Payload, p[:min(len(p), room)]...)
		}
	}
	clear(x.pieces)
	if x.c.codec != &x.c.ws && f.Length > 0 {
		show(f)
	}
}
