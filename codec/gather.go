package codec

import "github.com/sockmill/sockmill/protocol"

// gather is what Lines and Frames have in common: they open at once, have no
// farewell, and keep the start of a message until the rest of it has come.
type gather struct {
	bytesMax int    // of a message
	kept     []byte // from the loop's free lists; nil if nothing is unfinished
	given    bool   // kept was the data of the last event; it goes back at the next call
	closing  bool
}

// Start opens at once.
func (*gather) Start(*Env) Event { return Event{Kind: Open} }

// Close has nothing to say: the end of the stream is the farewell.
func (g *gather) Close(env *Env, _ protocol.CloseCode, _ string) bool {
	g.closing = true
	if !g.given {
		g.Release(env)
	}
	return false
}

// Release gives the buffer back.
func (g *gather) Release(env *Env) {
	env.Buffers.Put(g.kept)
	g.kept, g.given = nil, false
}

// over begins a call of Decode: it takes back what the last event lent, and
// reports whether the session is over.
func (g *gather) over(env *Env) bool {
	if g.given {
		g.Release(env)
	}
	return g.closing
}

// add returns the message so far, of which piece is the newest part: piece
// itself if it is the whole message.
func (g *gather) add(env *Env, piece []byte, whole bool) []byte {
	if whole && g.kept == nil {
		return piece[:len(piece):len(piece)]
	}
	if len(piece) > 0 {
		g.kept = append(env.Buffers.Grow(g.kept, len(piece)), piece...)
	}
	g.given = whole
	return g.kept
}

// fail ends the session for what the peer sent.
func (g *gather) fail(env *Env, code protocol.CloseCode, err error) Event {
	g.closing = true
	g.Release(env)
	env.Closed = &CloseError{Code: code, Err: err}
	return Event{Kind: Close}
}
