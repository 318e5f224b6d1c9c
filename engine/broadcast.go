package engine

import (
	"slices"

	"github.com/sockmill/sockmill/codec"
)

// Broadcast sends a message to every open connection. It is encoded once; each
// loop gets one task. A connection that cannot take it is treated as by Send.
// The error tells only that the message, or a loop's task, was not accepted.
func (e *Engine) Broadcast(m Message) error {
	op, err := m.opcode()
	if err != nil {
		return err
	}
	encoder := codec.Codec(codec.NewSession(&e.options))
	if e.cfg.Codec != nil {
		encoder = e.cfg.Codec()
	}
	var env codec.Env
	frame, err := encoder.Encode(&env, make([]byte, 0, len(m.Data)+16), op, m.Data)
	if err != nil {
		return err
	}
	workers := e.running()
	if len(workers) == 0 {
		return ErrStopped
	}
	out := outgoing{op: op, policy: m.Policy, key: m.Key, data: m.Data}
	if out.policy == 0 {
		out.policy = e.cfg.Policy
	}
	if out.policy != Close { // may be encoded again, for a congested connection, when m is no longer ours
		out.data = slices.Clone(m.Data)
	}
	for _, w := range workers {
		if w.loop.On() {
			w.sendAll(frame, out)
		} else if e := w.post(post{shared: frame, message: out}); e != nil {
			err = e
		}
	}
	return err
}

func (w *worker) sendAll(frame []byte, m outgoing) {
	for _, c := range w.conns {
		c.sendShared(frame, m)
	}
}
