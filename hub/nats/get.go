package nats

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/sockmill/sockmill/hub/broker"
)

// getRequest is the question of JetStream for messages that a stream keeps.
type getRequest struct {
	Sequence   uint64   `json:"seq,omitempty"`
	LastOf     string   `json:"last_by_subj,omitempty"`
	NextOf     string   `json:"next_by_subj,omitempty"`
	LastOfEach []string `json:"multi_last,omitempty"`
	Batch      int      `json:"batch,omitempty"`
	BytesMax   int      `json:"max_bytes,omitempty"`
}

// stored is a message of a stream.
type stored struct {
	sequence uint64
	time     time.Time
	data     []byte
}

func (b *Broker) stored(stream string, sequence uint64, at time.Time, data []byte) stored {
	if older := b.history.older; older != nil {
		at = at.Add(-older(stream, sequence))
	}
	return stored{sequence, at, data}
}

// How many messages are asked for at once, and about how many bytes: with the headers of one message, which have at most 64 KiB.
const (
	batchMax      = 256
	batchBytesMax = mib
)

// end is what comes behind the messages of a direct get.
type end struct {
	none bool   // there are no such messages
	upTo uint64 // with LastOfEach: the last sequence that the server knew
}

// direct asks any server that has the stream for messages. It may not have got the newest ones yet. each is called for each message, and subject
// is its subject.
func (b *Broker) direct(ctx context.Context, stream string, q getRequest, each func(subject string, m stored)) (end, error) {
	text, _ := json.Marshal(q)
	var x question
	ask := func() (err error) {
		x, err = b.question("$JS.API.DIRECT.GET."+stream, nil, text, max(q.Batch, len(q.LastOfEach))+1)
		return err
	}
	if err := ask(); err != nil {
		return end{}, err
	}
	defer func() { b.history.replies.forget(x) }()
	began, first := time.Now(), true
	left := func() time.Duration { return b.cfg.PublishTimeout - time.Since(began) }
	timer := time.NewTimer(min(askAgain, left()))
	defer timer.Stop()
	for {
		m, err := b.answer(ctx, x, timer.C)
		if first && errors.Is(err, errSlow) && left() > 0 {
			b.history.replies.forget(x)
			if err := ask(); err != nil {
				return end{}, err
			}
			timer.Reset(min(askAgain, left()))
			continue
		}
		if err != nil {
			return end{}, err
		}
		if first {
			first = false
			timer.Reset(max(left(), 0))
		}
		switch status := m.Header.Get("Status"); status {
		case "":
			sequence, err := strconv.ParseUint(m.Header.Get("Nats-Sequence"), 10, 64)
			if err != nil {
				return end{}, errAnswer
			}
			at, err := time.Parse(time.RFC3339Nano, m.Header.Get("Nats-Time-Stamp"))
			if err != nil {
				return end{}, errAnswer
			}
			each(m.Header.Get("Nats-Subject"), b.stored(stream, sequence, at, m.Data))
		case "204":
			upTo, _ := strconv.ParseUint(m.Header.Get("Nats-UpTo-Sequence"), 10, 64)
			return end{upTo: upTo}, nil
		case "404":
			return end{none: true}, nil
		default:
			return end{}, fmt.Errorf("%w: JetStream answers %s %s", broker.ErrUnavailable, status, m.Header.Get("Description"))
		}
	}
}

var errAnswer = fmt.Errorf("%w: the answer is not one of JetStream", broker.ErrUnavailable)

// tip is the newest that a stream has of a channel, at a moment after it was asked for its state.
type tip struct {
	state
	newest  *stored // nil: nothing is stored
	removed uint64  // the sequence of the last removal; 0: none is stored
}

// tip looks for the newest message of a channel. It knows all that was stored before s.
func (p *part) tip(ctx context.Context, channel string, s state) (tip, error) {
	t := tip{state: s}
	subject, removals := p.b.storedSubject(channel), p.b.removalSubject(channel)
	e, err := p.b.direct(ctx, s.name, getRequest{LastOfEach: []string{subject, removals}}, func(of string, m stored) {
		t.take(of == removals, m)
	})
	if err != nil || s.replicas == 1 || t.newest != nil && e.upTo >= s.last {
		return t, err
	}
	// That server does not know everything yet, or has removed more than the leader, by its own clock.
	t = tip{state: s}
	for _, of := range []string{subject, removals} {
		m, ok, err := p.message(ctx, s.name, getRequest{LastOf: of})
		if err != nil {
			return t, err
		}
		if ok {
			t.take(of == removals, m)
		}
	}
	return t, nil
}

func (t *tip) take(removal bool, m stored) {
	if removal {
		t.removed = m.sequence
	} else {
		t.newest = &m
	}
}

// errBehind: the messages up to the newest one of a channel did not all come. They are still on their way to the server that was asked, or
// were removed just now.
var errBehind = fmt.Errorf("%w: the server that was asked does not have all messages yet", broker.ErrUnavailable)

// messages calls each for the messages of a channel with sequences from first to last, until it returns false. last must be
// that of one. They are without holes, except before the first one.
func (p *part) messages(ctx context.Context, stream, subject string, first, last uint64, most int, each func(stored) bool) error {
	var before uint64 // the one that came last: the next batch begins with it, which proves that there is no hole
	room := batchBytesMax
	for {
		batch := make([]stored, 0, 16)
		q := getRequest{Sequence: max(first, before, 1), NextOf: subject, Batch: min(batchMax, most) + 2, BytesMax: room}
		if _, err := p.b.direct(ctx, stream, q, func(_ string, m stored) { batch = append(batch, m) }); err != nil {
			return err
		}
		if before > 0 {
			if len(batch) == 0 || batch[0].sequence != before {
				return errBehind
			}
			batch = batch[1:]
		}
		if len(batch) == 0 || !slices.IsSortedFunc(batch, func(a, b stored) int { return int(int64(a.sequence) - int64(b.sequence)) }) {
			return errBehind
		}
		for _, m := range batch {
			if m.sequence > last {
				return errBehind // the last one is gone
			}
			if !each(m) || m.sequence == last {
				return nil
			}
			before, room = m.sequence, batchBytesMax+len(m.data) // which comes again
		}
	}
}
