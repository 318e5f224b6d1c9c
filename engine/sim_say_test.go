package engine

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/sockmill/sockmill/protocol"
)

// What simulated peers and programs say: any prefix of the block of text is
// UTF-8 if its length is a multiple of textUnit.
const textUnit = 10

var (
	simText  = bytes.Repeat([]byte("aé☃𝄞"), 20_000)
	simBytes = func() []byte {
		b := make([]byte, 200_000)
		for i := range b {
			b[i] = byte(i*i>>3 + i)
		}
		return b
	}()
)

// produce says something new.
func (p *peer) produce() {
	s := p.s
	if p.closing || p.fin || len(p.stream) > 200_000 || s.calm || !p.opened && !p.early {
		return
	}
	switch n := s.r.IntN(100); {
	case n < 60:
		p.message(1)
	case n < 75:
		p.message(1 + s.r.IntN(5))
	case n < 80: // pipelined
		for range 1 + s.r.IntN(30) {
			p.message(1)
		}
	case n < 95:
		p.ping()
	default: // unasked
		p.control(protocol.OpPong, "unasked")
		p.pongs = append(p.pongs, "unasked")
	}
}

func (p *peer) ping() {
	data := fmt.Sprint("ping ", len(p.pings), strings.Repeat("x", p.s.pick(0, 1, 110)))
	p.control(protocol.OpPing, data)
	p.pings = append(p.pings, data)
}

func (p *peer) control(op protocol.Opcode, data string) {
	p.stream, _ = p.session.Encode(&p.env, p.stream, op, []byte(data), false)
}

// size is the length of a message; the edges of the encoding come often.
func (s *sim) size() int {
	n := s.pick(0, 1, 20, 125, 126, 300, 1000)
	if s.chance(40) {
		n = s.pick(20_000, 65_535, 65_536, 100_000)
	}
	return min(s.r.IntN(n+1)+s.pick(0, n), s.cfg.bytesMax)
}

// message sends a message of so many frames, pings between them.
func (p *peer) message(frames int) {
	s := p.s
	m := simMessage{protocol.OpBinary, fmt.Sprintf("%v message %d ", p.c, len(p.sent))}
	if s.chance(500) {
		m.op = protocol.OpText
		m.data += string(simText[:s.size()/textUnit*textUnit])
	} else {
		m.data += string(simBytes[:s.size()])
	}
	p.sent = append(p.sent, m)
	if frames == 1 {
		p.stream, _ = p.session.Encode(&p.env, p.stream, m.op, []byte(m.data), false)
		return
	}
	op, left := m.op, m.data
	for i := range frames {
		n := s.r.IntN(len(left) + 1)
		if i == frames-1 {
			n = len(left)
		}
		h := protocol.Header{Fin: i == frames-1, Opcode: op, Masked: !p.server, Length: int64(n)}
		if h.Masked {
			copy(h.Key[:], fmt.Sprint(s.r.Uint32()%9000+1000))
		}
		p.stream = protocol.AppendHeader(p.stream, h)
		at := len(p.stream)
		p.stream = append(p.stream, left[:n]...)
		protocol.Mask(p.stream[at:], h.Key, 0)
		op, left = protocol.OpContinuation, left[n:]
		if i < frames-1 && s.chance(200) {
			p.ping()
		}
	}
}
