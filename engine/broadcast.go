package engine

import (
	"math/rand/v2"
	"slices"

	"github.com/sockmill/sockmill/codec"
)

// Broadcast sends a message to every open connection. It is encoded once, and
// compressed once for all that can take it; each loop gets one task. A
// connection that cannot take it is treated as by Send. The error tells only
// that the message, or a loop's task, was not accepted.
func (e *Engine) Broadcast(m Message) error {
	op, err := m.opcode()
	if err != nil {
		return err
	}
	encoder := codec.Codec(codec.NewSession(&e.options))
	if e.cfg.Codec != nil {
		if encoder, err = newCodec(e.cfg.Codec); err != nil {
			return err
		}
	}
	env := codec.Env{Random: rand.Uint64} // a server masks nothing; a codec of the program's may want it
	frame, err := encoder.Encode(&env, make([]byte, 0, len(m.Data)+16), op, m.Data, true)
	if err != nil {
		return err
	}
	workers := e.running()
	if len(workers) == 0 {
		return ErrStopped
	}
	out := outgoing{op: op, policy: m.Policy, plain: m.Plain, key: m.Key}
	if out.policy == 0 {
		out.policy = e.cfg.Policy
	}
	// It may be compressed, or encoded again for a congested connection, when
	// m.Data is no longer ours.
	if e.cfg.Codec == nil {
		out.data = frame[len(frame)-len(m.Data):]
	} else if out.policy != Close {
		out.data = slices.Clone(m.Data)
	}
	shared := &broadcast{plain: frame}
	for _, w := range workers {
		if w.loop.On() {
			w.sendAll(shared, out)
		} else if e := w.post(post{shared: shared, message: out}); e != nil {
			err = e
		}
	}
	return err
}

func (w *worker) sendAll(b *broadcast, m outgoing) {
	for _, c := range w.conns {
		c.sendShared(b, m)
	}
}
