package nats

import (
	"context"
	"fmt"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// inquiry is a question that this node has asked, until it has the answers.
type inquiry struct {
	id     uint64
	moment uint64     // nodes.moment when it was asked
	got    chan *note // answers, and goodbyes

	replies map[string]*reply // by instance; of known nodes, and of others that answer
	open    int               // known nodes that are waited for
	want    []*reply          // parts that were not asked for yet
	bytes   int64             // of all replies
}

// reply is what a node answers.
type reply struct {
	node, instance string

	data    []byte
	parts   uint64 // that have come
	waited  bool   // it is waited for
	silent  bool   // it was known to be silent
	asked   int    // parts that were asked for, and have not come
	done    bool   // all parts have come
	late    bool   // something is missing in them
	refused bool   // there is no room, or what came was not right
}

// gather asks all nodes a question, calls own meanwhile, and returns the answers of others that are complete, and who is missing.
func (b *Broker) gather(ctx context.Context, ask *note, own func(ctx context.Context)) (replies []*reply, missing []string, err error) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, b.cfg.AskTimeout)
	defer cancel()
	q, err := b.nodes.begin()
	if err != nil {
		return nil, nil, err
	}
	defer b.nodes.finish(q)
	if err := b.put(ctx, q, ask); err != nil {
		return nil, nil, err
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		own(ctx)
	}()
	err = b.collect(ctx, q)
	<-done // soon after ctx or the broker has ended
	if err != nil {
		return nil, nil, err
	}
	for _, r := range q.replies {
		if r.done && !r.refused {
			replies = append(replies, r)
		}
		if (r.waited || r.silent) && (!r.done || r.refused) || r.late {
			missing = append(missing, r.node)
		}
	}
	b.nodes.missing.Add(uint64(len(missing)))
	if time.Since(began) >= b.cfg.AskTimeout {
		b.nodes.silence(q)
	}
	return replies, missing, nil
}

// put sends a question.
func (b *Broker) put(ctx context.Context, q *inquiry, ask *note) error {
	if !b.live() {
		return fmt.Errorf("%w: there is no connection to NATS", broker.ErrUnavailable)
	}
	until, _ := ctx.Deadline()
	ask.id, ask.timeout = q.id, max(0, time.Until(until))
	ask.node, ask.instance = b.cfg.Node, b.nodes.instance
	return b.failed(b.conn.Publish(b.nodes.ask, ask.encode(nil)))
}

func (n *nodes) begin() (*inquiry, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, broker.ErrClosed
	}
	n.asks.Add(1)
	n.lastID++
	q := &inquiry{id: n.lastID, moment: n.moment, replies: map[string]*reply{}, got: make(chan *note, 2*len(n.peers)+16)}
	for _, p := range n.peers {
		if p.replaced {
			continue
		}
		q.replies[p.instance] = &reply{node: p.node, instance: p.instance, waited: !p.silent, silent: p.silent}
		if !p.silent {
			q.open++
		}
	}
	n.questions[q.id] = q
	return q, nil
}

func (n *nodes) finish(q *inquiry) {
	n.mu.Lock()
	delete(n.questions, q.id)
	n.mu.Unlock()
	for _, r := range q.replies {
		r.release(n, r.asked)
	}
	n.bytes.Add(-q.bytes)
}

// tell has the question get a note. There is room for all that known nodes may say.
func (q *inquiry) tell(m *note) {
	select {
	case q.got <- m:
	default:
	}
}

// onAnswer gets a part of an answer.
func (b *Broker) onAnswer(m *note) {
	n := &b.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if q := n.questions[m.id]; q != nil { // else it is too late
		q.tell(m)
	}
}

// collect waits until all nodes that are waited for have answered, or for the end of ctx. It asks for the parts of large answers, so many at a
// time that neither this node nor a server has much of them at once: a server would end a connection that is too slow.
func (b *Broker) collect(ctx context.Context, q *inquiry) error {
	n := &b.nodes
	for q.open > 0 {
		var room chan<- struct{}
		if len(q.want) > 0 {
			room = n.parts
		}
		select {
		case room <- struct{}{}:
			r := q.want[0]
			q.want = q.want[1:]
			if r.done || r.refused {
				<-n.parts
				continue
			}
			_ = b.say(n.to(r.instance), &note{kind: noteMore, id: q.id, part: r.parts + uint64(r.asked)}) // without it, the node is missing
			r.asked++
		case m := <-q.got:
			q.take(n, m)
		case <-ctx.Done():
			return nil
		case <-n.ended:
			return broker.ErrClosed
		}
	}
	return nil
}

// take takes what a node has said.
func (q *inquiry) take(n *nodes, m *note) {
	r := q.replies[m.instance]
	if m.kind == noteBye {
		if r != nil && !r.done && !r.refused {
			q.close(n, r)
			r.waited, r.silent = false, false
		}
		return
	}
	if r == nil {
		r = &reply{node: m.node, instance: m.instance}
		q.replies[m.instance] = r
	}
	if r.done || r.refused {
		return
	}
	if r.asked > 0 {
		r.release(n, 1)
	}
	if !q.add(n, r, m) {
		n.refused.Add(1)
		r.refused, r.data = true, nil
		q.close(n, r)
		return
	}
	r.late = r.late || m.late
	if m.last {
		r.done = true
		q.close(n, r)
		return
	}
	q.want = append(q.want, r)
	if m.part == 0 {
		for range partsAhead - 1 {
			q.want = append(q.want, r)
		}
	}
}

// add adds a part to a reply, for which there is room as soon as the first one has come.
func (q *inquiry) add(n *nodes, r *reply, m *note) bool {
	if m.part != r.parts {
		return false
	}
	if r.parts++; m.part > 0 {
		if len(r.data)+len(m.data) > cap(r.data) {
			return false
		}
		r.data = append(r.data, m.data...)
		return true
	}
	size := int64(max(len(m.data), int(m.size)))
	q.bytes += size
	if n.bytes.Add(size) > answerBytesMax {
		return false
	}
	if r.data = m.data; !m.last {
		r.data = append(make([]byte, 0, size), m.data...)
	}
	return true
}

// close ends waiting for a reply.
func (q *inquiry) close(n *nodes, r *reply) {
	r.release(n, r.asked) // there was no such part
	if r.waited {
		q.open--
	}
}

func (r *reply) release(n *nodes, parts int) {
	for range parts {
		<-n.parts
	}
	r.asked -= parts
}

// silence notes who was waited for as long as it may be, and was not heard at all.
func (n *nodes) silence(q *inquiry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, r := range q.replies {
		if p := n.peers[r.instance]; p != nil && r.waited && !r.done && !r.refused && p.heard <= q.moment {
			p.silent = true
		}
	}
}
