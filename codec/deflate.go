package codec

import "github.com/sockmill/sockmill/protocol"

const (
	windowBitsMin = 8
	windowBitsMax = 15 // what a peer uses that promised nothing less (RFC 7692 §7.1.2)
)

// Deflate says how sessions use permessage-deflate (RFC 7692). All numbers must
// be in their ranges.
//
// Context takeover is this end's own copy of the last bytes that went each
// way, in buffers from Env.Buffers; no compressor belongs to a connection.
type Deflate struct {
	Level          int // 1 (fastest) to 9 (smallest); windows below 15 bits have one level of their own, like 5
	ThresholdBytes int // shorter messages are sent as they are

	// Whether the server, the client may refer to earlier messages (RFC 7692
	// §7.1.1). What is not allowed here is not agreed to; what is, the peer may
	// still decline.
	ServerTakeover bool
	ClientTakeover bool

	// ServerMaxWindowBits, from 8 to 15, is the largest window that the server
	// compresses with (RFC 7692 §7.1.2.1): what a server promises at most, and
	// what a client asks for. A server that cannot promise it is offered
	// server_no_context_takeover instead.
	ServerMaxWindowBits int

	// ClientMaxWindowBits, from 8 to 15, is the largest window that the client
	// compresses with if it takes context over (RFC 7692 §7.1.2.2). A client
	// whose offer has neither client_max_window_bits nor
	// client_no_context_takeover is asked for nothing: Apple's, which sends
	// such, is said not to keep the latter. Its window of 32 KiB is kept, or, if
	// ClientTakeover or the Budget forbids that, the offer is declined.
	ClientMaxWindowBits int

	// HistoryBits, from 8 to 15, bounds what this end keeps of its own messages
	// to compress others with, beside the agreed window: 1<<HistoryBits bytes.
	// All of it is hashed anew for each message.
	HistoryBits int

	// Budget grants the memory for context takeover at the handshake, for the
	// life of the session; a session that gets none agrees to no takeover, or
	// to no compression: see ClientMaxWindowBits. Nil grants everything.
	Budget Budget
}

// Budget is a number of bytes that sessions share.
type Budget interface {
	Take(n int) bool // all of n or nothing
	Give(n int)      // n that was taken
}

// Compression says what permessage-deflate did in one direction.
type Compression struct {
	Messages uint64
	Plain    uint64 // bytes of their payloads before they were compressed, or after they were inflated
	Packed   uint64 // bytes of their payloads as they are sent
}

// Add counts one message.
func (c *Compression) Add(plain, packed int) {
	c.Messages++
	c.Plain += uint64(plain)
	c.Packed += uint64(packed)
}

// takeover is the context of a session in both directions: the ends of what was
// compressed and inflated, pooled.
type takeover struct {
	sent, received []byte
}

// agreement is what a session does after the handshake: all zero without
// compression.
type agreement struct {
	bits uint8 // the window to compress with; 0: nothing is compressed

	// sentBits and receivedBits are the windows to keep for takeover; 0: none
	// that way.
	sentBits, receivedBits uint8
}

// cost is what the agreement takes from the budget.
func (a agreement) cost() (bytes int) {
	for _, bits := range [...]uint8{a.sentBits, a.receivedBits} {
		if bits > 0 {
			bytes += max(1<<bits, bufferBytesMin)
		}
	}
	return bytes
}

func bitsOf(parameter int) int {
	if parameter <= 0 {
		return windowBitsMax
	}
	return parameter
}

func (d *Deflate) take(n int) bool { return n == 0 || d.Budget == nil || d.Budget.Take(n) }

func (d *Deflate) give(n int) {
	if n > 0 && d.Budget != nil {
		d.Budget.Give(n)
	}
}

// acceptDeflate picks the first offer that can be accepted and agrees to it;
// the value of Sec-WebSocket-Extensions is empty if there is none (RFC 7692
// §5.1).
func (s *Session) acceptDeflate(offers []protocol.Extension) (value string) {
	d := s.opts.Deflate
	if d == nil {
		return ""
	}
	for _, e := range offers {
		offer, ok := protocol.ParseDeflateOffer(e)
		if !ok {
			continue
		}
		if answer, a, ok := d.answer(offer); ok {
			s.agree(a)
			var room [128]byte
			return string(answer.Append(room[:0]))
		}
	}
	return ""
}

// answer accepts an offer with as much takeover as it, the options and the
// budget allow. It reports false if the offer has to be declined.
func (d *Deflate) answer(offer protocol.Deflate) (answer protocol.Deflate, a agreement, ok bool) {
	bare := offer.ClientMaxWindowBits == 0 && !offer.ClientNoContextTakeover
	if bare && !d.ClientTakeover {
		return answer, a, false
	}
	answer.ServerNoContextTakeover = offer.ServerNoContextTakeover || !d.ServerTakeover
	answer.ClientNoContextTakeover = offer.ClientNoContextTakeover || !d.ClientTakeover
	bits := min(bitsOf(offer.ServerMaxWindowBits), d.ServerMaxWindowBits)
	if bits < windowBitsMax || offer.ServerMaxWindowBits != 0 {
		answer.ServerMaxWindowBits = bits
	}
	a.bits = uint8(bits)
	if !answer.ServerNoContextTakeover {
		a.sentBits = uint8(min(bits, d.HistoryBits))
	}
	if !answer.ClientNoContextTakeover { // else its window costs nothing here
		a.receivedBits = windowBitsMax
		if clientBits := min(bitsOf(offer.ClientMaxWindowBits), d.ClientMaxWindowBits); !bare && clientBits < windowBitsMax {
			answer.ClientMaxWindowBits, a.receivedBits = clientBits, uint8(clientBits)
		}
	}
	switch {
	case d.take(a.cost()):
	case bare:
		return answer, a, false
	default:
		answer.ServerNoContextTakeover, answer.ClientNoContextTakeover = true, true
		answer.ClientMaxWindowBits = 0
		a = agreement{bits: a.bits}
	}
	return answer, a, true
}

// offer is what a client offers, and the takeover of it, for which it took the
// budget.
func (d *Deflate) offer() (offer protocol.Deflate, a agreement) {
	if d.ClientTakeover {
		a.sentBits = uint8(min(d.ClientMaxWindowBits, d.HistoryBits))
	}
	if d.ServerTakeover {
		a.receivedBits = uint8(d.ServerMaxWindowBits)
	}
	if !d.take(a.cost()) {
		a = agreement{}
	}
	offer.ClientNoContextTakeover = a.sentBits == 0
	offer.ServerNoContextTakeover = a.receivedBits == 0
	if d.ServerMaxWindowBits < windowBitsMax {
		offer.ServerMaxWindowBits = d.ServerMaxWindowBits
	}
	if offer.ClientMaxWindowBits = d.ClientMaxWindowBits; d.ClientMaxWindowBits == windowBitsMax {
		offer.ClientMaxWindowBits = protocol.AnyWindowBits
	}
	return offer, a
}

// startDeflate returns a client's offers; the budget for the first is noted.
func (s *Session) startDeflate() (value string) {
	d := s.opts.Deflate
	if d == nil {
		return ""
	}
	var offer protocol.Deflate
	offer, s.agreement = d.offer()
	b := offer.Append(nil)
	if offer.ServerMaxWindowBits != 0 { // a server that cannot be limited to it declines that (RFC 7692 §7.1.2.1)
		offer.ServerMaxWindowBits, offer.ServerNoContextTakeover = 0, true
		b = offer.Append(append(b, ", "...))
	}
	return string(b)
}

// openDeflate judges the server's answer to the offer (RFC 7692 §5.1, §7.1):
// one that does not answer it fails the connection.
func (s *Session) openDeflate(answers []protocol.Extension) error {
	if len(answers) == 0 {
		s.endDeflate(nil)
		return nil
	}
	d := s.opts.Deflate
	if d == nil || len(answers) > 1 || answers[0].Name != protocol.DeflateName {
		return &HandshakeError{Status: 502, Reason: "the server chose an extension that was not offered"}
	}
	answer, ok := protocol.ParseDeflateAnswer(answers[0])
	noServer, noClient := s.receivedBits == 0, s.sentBits == 0 // as offered
	serverBits := bitsOf(answer.ServerMaxWindowBits)
	// The first offer limits the window, the second needs none to be kept.
	if !ok || (noServer || serverBits > d.ServerMaxWindowBits) && !answer.ServerNoContextTakeover {
		return &HandshakeError{Status: 502, Reason: "the server's permessage-deflate does not answer the offer"}
	}
	bits := min(bitsOf(answer.ClientMaxWindowBits), d.ClientMaxWindowBits)
	a := agreement{bits: uint8(bits)}
	if !noClient && !answer.ClientNoContextTakeover {
		a.sentBits = uint8(min(bits, d.HistoryBits))
	}
	if !answer.ServerNoContextTakeover {
		a.receivedBits = uint8(serverBits)
	}
	d.give(s.cost() - a.cost())
	s.agree(a)
	return nil
}

// agree makes the session do what was agreed; the budget is taken already.
func (s *Session) agree(a agreement) {
	s.rsv, s.agreement = protocol.Rsv1, a
}

// context makes the session's takeover when there is the first message for it.
func (s *Session) context() *takeover {
	if s.takeover == nil {
		s.takeover = new(takeover)
	}
	return s.takeover
}

// endDeflate gives back what the session holds for context takeover. Nothing
// is compressed after it.
func (s *Session) endDeflate(env *Env) {
	s.opts.Deflate.give(s.cost())
	s.agreement = agreement{}
	t := s.takeover
	if t == nil {
		return
	}
	s.takeover = nil
	for _, b := range [...][]byte{t.sent, t.received} {
		if b != nil {
			env.Buffers.Put(b)
		}
	}
}

// remember appends data to a history of at most limit bytes.
func remember(buffers *Buffers, history, data []byte, limit int) []byte {
	if len(data) == 0 {
		return history
	}
	data = data[max(0, len(data)-limit):]
	if over := len(history) + len(data) - limit; over > 0 {
		history = history[:copy(history, history[over:])]
	}
	if history == nil {
		history = buffers.Get(len(data))
	}
	return append(buffers.Grow(history, len(data)), data...)
}
