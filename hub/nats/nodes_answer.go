package nats

import (
	"context"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"
)

// held is what is left of an answer. The one who has asked asks for each part.
type held struct {
	data  []byte
	size  int // that counts as held
	part  uint64
	timer *time.Timer // when nobody waits for it any more
}

type heldKey struct {
	instance string
	id       uint64
}

// onAsk gets a question.
func (b *Broker) onAsk(msg *natsgo.Msg, m *note) {
	n := &b.nodes
	if m.kind < noteAsk || m.kind > noteCount {
		b.foreign(msg)
		return
	}
	select {
	case n.answers <- struct{}{}:
	case <-n.ended:
		return
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		<-n.answers
		return
	}
	n.working.Add(1)
	go func() {
		defer n.working.Done()
		b.respond(m)
		<-n.answers
	}()
}

// respond answers a question, a little before it is too late.
func (b *Broker) respond(m *note) {
	ctx, cancel := context.WithTimeout(b.ctx, m.timeout*9/10)
	defer cancel()
	data, complete := b.knows(ctx, m)
	b.nodes.answered.Add(1)
	b.send(m, data, complete)
}

// knows returns what this node knows, and whether that is all.
func (b *Broker) knows(ctx context.Context, m *note) (data []byte, complete bool) {
	switch m.kind {
	case notePresent:
		return b.ownPresent(ctx, m.subject)
	case noteCount:
		return b.ownCount(ctx, m.subject, m.data)
	}
	all, err := b.nodes.local.Ask(ctx, m.subject, m.data)
	if err != nil {
		return nil, false
	}
	size := 0
	for _, x := range all.Data {
		size += protowire.SizeBytes(len(x.Data))
	}
	data = make([]byte, 0, size)
	for _, x := range all.Data {
		data = protowire.AppendBytes(data, x.Data)
	}
	return data, len(all.Missing) == 0
}

// send sends the first part of an answer, and holds the others.
func (b *Broker) send(m *note, data []byte, complete bool) {
	n := &b.nodes
	answer := note{kind: noteAnswer, id: m.id, data: data, last: true, late: !complete}
	if first := min(firstPartMax, b.part()); len(data) > first {
		answer.data, answer.last, answer.size = data[:first], false, uint64(len(data))
		if !n.hold(m, data[first:]) {
			n.refused.Add(1)
			answer.data, answer.last, answer.size, answer.late = nil, true, 0, true
		}
	}
	_ = b.say(n.to(m.instance), &answer) // without it, this node is missing
}

// part is how large a part may be.
func (b *Broker) part() int { return int(min(partMax, b.conn.MaxPayload()/2)) }

// hold holds the rest of an answer as long as it is waited for. It fails if there is no room.
func (n *nodes) hold(m *note, rest []byte) bool {
	key, h := heldKey{m.instance, m.id}, &held{data: rest, size: len(rest), part: 1}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed || n.heldBytes+h.size > answerBytesMax || n.held[key] != nil {
		return false
	}
	n.heldBytes += h.size
	h.timer = time.AfterFunc(m.timeout, func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.drop(key, h)
	})
	n.held[key] = h
	return true
}

// drop is called with the lock.
func (n *nodes) drop(key heldKey, h *held) {
	if n.held[key] == h {
		delete(n.held, key)
		n.heldBytes -= h.size
	}
}

// sendMore sends the next part of an answer.
func (b *Broker) sendMore(m *note) {
	n, key := &b.nodes, heldKey{m.instance, m.id}
	n.mu.Lock()
	h := n.held[key]
	if h == nil || h.part != m.part { // it is too late
		n.mu.Unlock()
		return
	}
	size := min(len(h.data), b.part())
	answer := note{kind: noteAnswer, id: m.id, part: h.part, data: h.data[:size], last: size == len(h.data)}
	h.data = h.data[size:]
	h.part++
	if answer.last {
		h.timer.Stop()
		n.drop(key, h)
	}
	n.mu.Unlock()
	_ = b.say(n.to(m.instance), &answer) // without it, this node is missing
}
