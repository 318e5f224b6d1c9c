package codec

// What the tests may see of the inside: what is kept, and how much.

const (
	FreeBytesMax    = freeBytesMax
	FreePartialsMax = freePartialsMax
)

// Idle reports whether the session owns nothing but itself.
func (s *Session) Idle() bool { return s.part == nil && s.takeover == nil }

// Held is the number of bytes of the buffers that the session holds.
func (s *Session) Held() (bytes int) {
	if p := s.part; p != nil {
		bytes = cap(p.head) + cap(p.control) + cap(p.message)
	}
	if t := s.takeover; t != nil {
		bytes += cap(t.sent) + cap(t.received)
	}
	return bytes
}

// Spoil overwrites what was scanned of an unfinished head, but for its end. Who
// scans it again finds the bare LF.
func (s *Session) Spoil() {
	for i := range s.part.head[:s.part.scanned-4] {
		s.part.head[i] = '\n'
	}
}

// NewSessionIn returns a session that stands in a state already.
func NewSessionIn(o *Options, state State) *Session { return &Session{opts: o, state: state} }

// To changes the state.
func (s *Session) To(env *Env, next State) { s.to(env, next) }

// FreePartials is the length of the free list of partials.
func (e *Env) FreePartials() int { return len(e.partials) }

// FreeBytes is what the free lists keep, as they count it and as it is, with
// what their arrays still refer to.
func (p *Buffers) FreeBytes() (counted, kept int) {
	for _, list := range p.free {
		for _, b := range list[:cap(list)] {
			kept += cap(b)
		}
	}
	return p.freeBytes, kept
}

// PackedBytesMax is what is taken of a compressed message.
func (o *Options) PackedBytesMax() int64 { return o.packedBytesMax() }

// FinalBlocksMax is the number of final blocks that one message may go on behind.
const FinalBlocksMax = finalBlocksMax
