package nats

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/sockmill/sockmill/hub/broker"
)

// state is that of a stream, as its leader said.
type state struct {
	name        string
	first, last uint64    // sequences: of the oldest message that is kept of any channel, and of the newest there was
	leader      string    // and since when
	now         time.Time // its clock, by which messages have their time
	replicas    int
	perSubject  int64         // how many messages of a subject it keeps
	maxAge      time.Duration // and how long
	stored      uint64        // messages of the subject that was asked for
	answer      []byte        // what the leader said, in JSON
}

// look is a question for the state that several callers share.
type look struct {
	done  chan struct{}
	state state
	err   error
}

// look returns the state of the stream at a moment after the call has begun. It fails with errBehind if the leader does not know what this node has
// heard of: its store is broken, or it is the leader no more. However many call it at once, few questions are asked.
func (p *part) look(ctx context.Context) (state, error) {
	p.mu.Lock()
	if p.next == nil {
		p.next = &look{done: make(chan struct{})}
	}
	l := p.next
	p.mu.Unlock()
	select {
	case p.looking <- struct{}{}:
		select {
		case <-l.done:
		default:
			p.mu.Lock()
			p.next = nil   // who comes now has to wait for another one
			high := p.high // what is heard while the leader is asked may be later than its answer
			p.mu.Unlock()
			if l.state, l.err = p.state(p.b.ctx, ""); l.err == nil {
				if at := (broker.Position{Offset: l.state.last, Epoch: l.state.name}); high.Epoch == at.Epoch && high.Offset > at.Offset {
					l.err = errBehind
				} else {
					p.heard(at)
				}
			}
			close(l.done)
		}
		<-p.looking
	case <-l.done:
	case <-ctx.Done():
		return state{}, ctx.Err()
	}
	return l.state, l.err
}

// heard notes a position of the stream.
func (p *part) heard(at broker.Position) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if at.Epoch == p.stream() && (p.high.Epoch != at.Epoch || p.high.Offset < at.Offset) {
		p.high = at
	}
}

// state asks the leader of the stream, also for how many messages a subject has. It fails with jetstream.ErrStreamNotFound if the stream is gone.
func (p *part) state(ctx context.Context, subject string) (state, error) {
	var question []byte
	if subject != "" {
		question, _ = json.Marshal(map[string]string{"subjects_filter": subject})
	}
	var info struct { // only what is needed: it is asked often
		Config struct {
			Replicas   int           `json:"num_replicas"`
			PerSubject int64         `json:"max_msgs_per_subject"`
			MaxAge     time.Duration `json:"max_age"`
		} `json:"config"`
		State struct {
			First    uint64            `json:"first_seq"`
			Last     uint64            `json:"last_seq"`
			Subjects map[string]uint64 `json:"subjects"`
		} `json:"state"`
		Cluster struct {
			Leader string `json:"leader"`
			Since  string `json:"leader_since"`
		} `json:"cluster"`
		Now   time.Time           `json:"ts"`
		Error *jetstream.APIError `json:"error"`
	}
	name := p.stream()
	answer, err := p.b.api(ctx, "STREAM.INFO."+name, question, &info)
	if err == nil {
		err = answered(info.Error)
	}
	return state{
		name: name, first: info.State.First, last: info.State.Last, leader: info.Cluster.Leader + info.Cluster.Since, now: info.Now,
		replicas: info.Config.Replicas, perSubject: info.Config.PerSubject, maxAge: info.Config.MaxAge, stored: info.State.Subjects[subject], answer: answer,
	}, err
}

// config is that of the stream.
func (s *state) config() (*jetstream.StreamConfig, error) {
	var info jetstream.StreamInfo
	err := json.Unmarshal(s.answer, &info)
	return &info.Config, err
}

// message asks the leader of the stream for a message; ok is false if there is none.
func (p *part) message(ctx context.Context, stream string, q getRequest) (m stored, ok bool, err error) {
	question, _ := json.Marshal(q)
	var answer struct {
		Message struct {
			Sequence uint64    `json:"seq"`
			Time     time.Time `json:"time"`
			Data     []byte    `json:"data"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if _, err := p.b.api(ctx, "STREAM.MSG.GET."+stream, question, &answer); err != nil {
		return m, false, err
	}
	if answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound {
		return m, false, nil
	}
	return p.b.stored(stream, answer.Message.Sequence, answer.Message.Time, answer.Message.Data), true, answered(answer.Error)
}

// api asks JetStream.
func (b *Broker) api(ctx context.Context, subject string, question []byte, answer any) ([]byte, error) {
	m, err := b.askOnce(ctx, "$JS.API."+subject, nil, question)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(m.Data, answer); err != nil {
		return nil, fmt.Errorf("%w: the answer is not one of JetStream: %w", broker.ErrUnavailable, err)
	}
	return m.Data, nil
}

// answered makes an error of one in an answer.
func answered(e *jetstream.APIError) error {
	switch {
	case e == nil:
		return nil
	case e.ErrorCode == jetstream.JSErrCodeStreamNotFound:
		return jetstream.ErrStreamNotFound
	}
	return fmt.Errorf("%w: %s (JetStream error %d)", broker.ErrUnavailable, e.Description, e.ErrorCode)
}
