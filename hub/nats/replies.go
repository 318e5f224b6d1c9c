package nats

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/sockmill/sockmill/hub/broker"
)

// replies is one NATS subscription for the answers to all that the histories ask, so that a question costs no subscription and no
// goroutine. A question may have several answers.
type replies struct {
	prefix string

	mu      sync.Mutex // guards what follows
	asked   uint64     // how many questions there were
	waiting map[uint64]chan *natsgo.Msg
	cut     chan struct{} // closed when the connection is lost: what was asked before has no answer any more
}

// question is one that was asked.
type question struct {
	number uint64
	got    chan *natsgo.Msg
	cut    <-chan struct{}
}

func (r *replies) open(b *Broker) error {
	r.prefix, r.waiting, r.cut = b.conn.NewInbox()+".", map[uint64]chan *natsgo.Msg{}, make(chan struct{})
	_, err := b.conn.Subscribe(r.prefix+"*", r.deliver)
	b.onDisconnect(func(context.Context) { r.lost() })
	return err
}

func (r *replies) deliver(m *natsgo.Msg) {
	number, err := strconv.ParseUint(strings.TrimPrefix(m.Subject, r.prefix), 36, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	got := r.waiting[number]
	r.mu.Unlock()
	select {
	case got <- m:
	default: // nobody waits any more, or these are more answers than there can be
	}
}

func (r *replies) lost() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.cut)
	r.cut = make(chan struct{})
}

// question sends a question that has at most n answers. The caller calls forget when it wants no more of them.
func (b *Broker) question(subject string, header natsgo.Header, data []byte, n int) (question, error) {
	if err := b.up(); err != nil {
		return question{}, err
	}
	r := &b.history.replies
	q := question{got: make(chan *natsgo.Msg, n)}
	r.mu.Lock()
	r.asked++
	q.number, q.cut = r.asked, r.cut
	r.waiting[q.number] = q.got
	r.mu.Unlock()
	err := b.conn.PublishMsg(&natsgo.Msg{Subject: subject, Reply: r.prefix + strconv.FormatUint(q.number, 36), Header: header, Data: data})
	if err != nil {
		r.forget(q)
		return question{}, b.failed(err)
	}
	return q, nil
}

func (r *replies) forget(q question) {
	r.mu.Lock()
	delete(r.waiting, q.number)
	r.mu.Unlock()
}

// answer waits for the next answer to a question.
func (b *Broker) answer(ctx context.Context, q question, late <-chan time.Time) (*natsgo.Msg, error) {
	select {
	case m := <-q.got:
		if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
			return nil, errNobody
		}
		return m, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late:
		return nil, errSlow
	case <-q.cut:
		return nil, errDisconnected
	case <-b.ctx.Done():
		return nil, broker.ErrClosed
	}
}

// askAgain is after what time without an answer a question that changes nothing is asked again: a server that has just left a stream, or leads
// it no more, drops what it has been asked.
const askAgain = time.Second

// askOnce asks a question that changes nothing and has one answer.
func (b *Broker) askOnce(ctx context.Context, subject string, header natsgo.Header, data []byte) (*natsgo.Msg, error) {
	for began := time.Now(); ; {
		m, err := b.askWithin(ctx, subject, header, data, min(askAgain, b.cfg.PublishTimeout-time.Since(began)))
		if !errors.Is(err, errSlow) || time.Since(began) >= b.cfg.PublishTimeout {
			return m, err
		}
	}
}

func (b *Broker) askWithin(ctx context.Context, subject string, header natsgo.Header, data []byte, within time.Duration) (*natsgo.Msg, error) {
	q, err := b.question(subject, header, data, 1)
	if err != nil {
		return nil, err
	}
	defer b.history.replies.forget(q)
	timer := time.NewTimer(within)
	defer timer.Stop()
	return b.answer(ctx, q, timer.C)
}
