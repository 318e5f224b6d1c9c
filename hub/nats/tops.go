package nats

import (
	"context"
	"fmt"

	"github.com/sockmill/sockmill/hub/broker"
)

// topsMax is for how many channels the newest position is asked for with one question.
const topsMax = 250

// tops is a question for the newest positions of channels that several callers share: a crowd that comes back needs few questions.
type tops struct {
	subjects []string
	state    state
	newest   map[string]uint64 // what is stored, by subject
	done     chan struct{}
	err      error
}

// top returns the newest position of a channel at a moment after the call has begun.
func (p *part) top(ctx context.Context, channel string) (broker.Position, error) {
	subject := p.b.storedSubject(channel)
	p.mu.Lock()
	if n := len(p.tops); n == 0 || len(p.tops[n-1].subjects) == topsMax {
		p.tops = append(p.tops, &tops{newest: map[string]uint64{}, done: make(chan struct{})})
	}
	t := p.tops[len(p.tops)-1]
	t.subjects = append(t.subjects, subject)
	p.mu.Unlock()
	for {
		select {
		case <-t.done:
			if t.err != nil {
				return broker.Position{}, t.err
			}
			at := broker.Position{Offset: t.state.last, Epoch: t.state.name}
			if newest, ok := t.newest[subject]; ok {
				at.Offset = newest
			}
			return at, nil
		case p.topping <- struct{}{}:
			p.mu.Lock()
			var next *tops
			if len(p.tops) > 0 {
				next, p.tops = p.tops[0], p.tops[1:]
			}
			p.mu.Unlock()
			if next != nil {
				next.err = next.ask(p)
				close(next.done)
			}
			<-p.topping
		case <-ctx.Done():
			return broker.Position{}, ctx.Err()
		}
	}
}

// ask asks any server that has the stream. It is right if it knows all that the leader knew before.
func (t *tops) ask(p *part) (err error) {
	ctx, cancel := context.WithTimeout(p.b.ctx, p.b.cfg.PublishTimeout)
	defer cancel()
	if t.state, err = p.look(ctx); err != nil {
		return err
	}
	anchor := fmt.Sprintf("%s.r.%d.-.-", p.b.cfg.Prefix, p.n)
	q := getRequest{LastOfEach: append(t.subjects, anchor)}
	for err == nil {
		var e end
		e, err = p.b.direct(ctx, t.state.name, q, func(subject string, m stored) { t.newest[subject] = m.sequence })
		if err == nil && (t.state.replicas == 1 || !e.none && e.upTo >= t.state.last) {
			return nil
		}
		if err == nil && e.none { // it does not say how much it knows if it has none of them, so there has to be one
			_, err = p.store(ctx, anchor, nil, nil)
		}
		if err == nil {
			err = p.b.pause(ctx, readAgain)
		}
	}
	if ctx.Err() != nil && !p.b.closed.Load() {
		return errBehind
	}
	return err
}
