package engine

import (
	"bytes"
	"errors"

	"github.com/sockmill/sockmill/codec"
	"github.com/sockmill/sockmill/protocol"
)

// simMessage is a message as it was sent.
type simMessage struct {
	op   protocol.Opcode
	data string
}

// peer is the client of a connection, or the server of a dialled one.
type peer struct {
	s       *sim
	c       *simConn
	env     codec.Env
	session *codec.Session

	server bool
	ending bool // the server: it ends its stream when all is said

	honest bool // what it sends is valid
	deaf   bool // it does not read, until the end
	busy   bool // it does not read before it has sent what it has
	early  bool // it does not wait for the handshake's answer
	decode bool // the handshake is valid, so that what comes is to be
	lossy  bool // the stream broke: what was under way may be lost
	target string

	tls    *simTLS      // nil without TLS
	stream []byte       // encoded, not sealed or in the kernel yet
	sent   []simMessage // in stream or before it
	seen   int          // of sent, by OnMessage
	pings  []string     // like sent
	pinged int          // of pings, by OnPing
	ponged int          // of pings, answered
	pongs  []string     // answers to the server's pings
	heard  int          // of pongs, by OnPong

	said      bool // it sent its close frame
	closing   bool // it sent a close frame, or the end of its session
	fin       bool
	gone      bool // it closed or reset the socket
	eof       bool // it saw the end of the server's stream
	closed    *CloseError
	opened    bool
	delivered uint64 // messages
}

func newPeer(c *simConn) *peer {
	s := c.s
	p := &peer{s: s, c: c, honest: !s.chance(150), deaf: s.chance(100), early: s.chance(300), decode: true, target: "/"}
	if s.chance(40) {
		p.target = "/refuse"
	}
	p.env.Random = s.r.Uint64
	o := &codec.Options{
		Role: codec.Client, HandshakeBytesMax: 1 << 16, HeaderFieldsMax: 100, MessageBytesMax: 1 << 30, FragmentsMax: 1 << 20,
		Host: "sim", Target: p.target,
	}
	if c.d != nil {
		p.server, p.early, o.Role = true, false, codec.Server
	}
	p.session = codec.NewSession(o)
	p.session.Start(&p.env)
	p.flush()
	if !p.honest && s.chance(300) {
		p.spoil()
	}
	return p
}

// over reports that nothing more will happen here.
func (p *peer) over() bool { return p.gone || p.eof }

// act does one thing that a client may do at any time.
func (p *peer) act() {
	s := p.s
	switch n := s.r.IntN(1000); {
	case p.over():
	case p.tls != nil && !p.honest && !p.tls.spoiled && len(p.tls.cipher) > 0 && n < 30:
		p.spoilSealed(s.r.IntN(len(p.tls.cipher)))
	case n < 350:
		p.transmit(1 + s.r.IntN(1+s.pick(3, 300, 100_000)))
	case n < 650:
		if !p.deaf || s.calm {
			p.receive(1 + s.r.IntN(1+s.pick(10, 1000, 100_000)))
		}
	case n < 990:
		p.produce()
	case n < 993:
		p.reset()
	case n < 995:
		p.end()
	case n < 998:
		p.bye()
	case !p.honest:
		p.spoil()
	}
}

// transmit moves n bytes into the server's kernel, as far as there is room.
func (p *peer) transmit(n int) bool {
	k := p.c.sock
	if k.closed && p.waiting() > 0 && !k.reset {
		k.breaks()
	}
	from := &p.stream
	if p.tls != nil {
		if from = &p.tls.cipher; len(*from) == 0 && len(p.stream) > 0 {
			p.seal(1 + p.s.r.IntN(min(len(p.stream), p.s.pick(10, 1000, 300_000))))
		}
	}
	n = min(n, len(*from), k.inMax-len(k.in))
	if n <= 0 || k.reset || k.closed {
		return false
	}
	if len(k.in) == 0 {
		k.inAt = p.s.now
	}
	k.in = append(k.in, (*from)[:n]...)
	if *from = (*from)[n:]; p.waiting() == 0 && p.ending {
		p.end()
	}
	return true
}

// receive reads n bytes and decodes them.
func (p *peer) receive(n int) bool {
	k := p.c.sock
	if p.busy && p.waiting() > 0 && !k.reset && !k.closed {
		return false
	}
	n = min(n, len(k.out))
	if n == 0 {
		if k.reset || k.outFin || k.closed {
			p.eof = true
			p.c.checkEnd()
			if p.tls != nil {
				p.c.checkSealedEnd()
			}
			if !p.fin || !k.inFin {
				p.end()
			}
		}
		return p.eof
	}
	b := bytes.Clone(k.out[:n])
	if k.out = k.out[n:]; p.tls != nil {
		b = p.unseal(b)
	}
	if p.decode {
		p.take(b)
	}
	return true
}

func (p *peer) take(b []byte) {
	for {
		ev, n := p.session.Decode(&p.env, b)
		b = b[n:]
		if p.said && ev.Kind == codec.Close {
			p.env.Out = p.env.Out[:0] // the answer to the answer
		}
		p.flush()
		switch ev.Kind {
		case codec.NeedMore:
			return
		case codec.Request:
			p.answer()
		case codec.Open:
			p.opened = true
		case codec.Message:
			p.delivered++
			p.c.delivered(simMessage{ev.Opcode, string(ev.Data)})
		case codec.Ping:
			p.pongs = append(p.pongs, string(ev.Data))
		case codec.Pong:
			if p.honest && (p.ponged == len(p.pings) || p.pings[p.ponged] != string(ev.Data)) {
				p.s.failf("%v: pong %d carries %q", p.c, p.ponged, ev.Data)
			}
			p.ponged++
		case codec.Close:
			p.closed = p.env.Closed
			p.closing = true
			if p.ending = p.server && p.decode; p.ending && p.waiting() == 0 {
				p.end()
			}
			var broken *protocol.Error
			if errors.As(p.env.Closed, &broken) {
				p.s.failf("%v: the server broke the protocol: %v", p.c, p.env.Closed)
			}
		}
		if p.s.failure != "" {
			return
		}
	}
}

// answer is the server's, to the opening handshake.
func (p *peer) answer() {
	if p.s.chance(100) {
		p.session.Refuse(&p.env, &codec.HandshakeError{Status: p.s.pick(401, 503), Reason: "no"})
		p.closing, p.ending = true, true
	} else {
		if err := p.session.Accept(&p.env, codec.Accept{}); err != nil {
			p.s.failf("%v: the request cannot be accepted: %v", p.c, err)
		}
		p.opened = true
	}
	p.flush()
}

// flush queues what the session says by itself.
func (p *peer) flush() {
	if !p.fin {
		p.stream = append(p.stream, p.env.Out...)
	}
	p.env.Out = p.env.Out[:0]
}

// bye begins the closing handshake.
func (p *peer) bye() {
	if p.closing || p.fin || !p.opened {
		return
	}
	p.closing = true
	p.s.tracef("%v: the peer closes", p.c)
	p.said = true // behind the session's back, which would not deliver what still comes
	h := protocol.Header{Fin: true, Opcode: protocol.OpClose, Masked: !p.server, Length: 5}
	p.stream = protocol.AppendHeader(p.stream, h)
	p.stream = protocol.AppendClosePayload(p.stream, protocol.CloseCode(p.s.pick(1000, 1001, 3000, 4999)), "bye")
	if p.tls != nil && !p.honest && !p.tls.spoiled && p.s.chance(500) { // and a broken record behind it
		p.seal(len(p.stream))
		p.stream = append(p.stream, "too late"...)
		p.seal(len(p.stream))
		p.spoilSealed(len(p.tls.cipher) - 1)
	}
}

// end ends the peer's stream; an honest one says all it has to say before.
func (p *peer) end() {
	k := p.c.sock
	if p.honest && p.waiting() > 0 && !p.eof || p.gone {
		return
	}
	p.s.tracef("%v: the peer ends its stream", p.c)
	p.fin, p.closing, p.stream = true, true, nil
	if len(k.in) == 0 {
		k.inAt = p.s.now
	}
	if p.tls != nil && !p.eof {
		p.endSealed()
	} else {
		k.inFin = true
	}
	if p.eof {
		p.gone = true
		return
	}
	if p.session.State() == codec.StateOpen || p.server && p.closed == nil {
		p.lossy = true // the server drops what it has for us
	}
}

func (p *peer) reset() {
	p.gone, p.closing, p.lossy = true, true, true
	if !p.c.sock.reset {
		p.c.sock.breaks()
	}
}

// spoil changes what is under way.
func (p *peer) spoil() {
	if p.honest = false; p.fin {
		return
	}
	p.decode = p.decode && p.opened // or the answer may not fit the request
	p.s.tracef("%v: the peer sends garbage", p.c)
	if p.opened && p.s.chance(200) { // and much of it, before it reads on
		p.busy = true
		p.stream = append(p.stream, bytes.Repeat(simBytes, 1+p.s.r.IntN(10))...)
		return
	}
	if len(p.stream) == 0 {
		p.stream = append(p.stream, simBytes[:p.s.r.IntN(50)]...)
		return
	}
	p.stream[p.s.r.IntN(len(p.stream))] ^= byte(1 + p.s.r.IntN(255))
}
