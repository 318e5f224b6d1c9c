package nats

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/sockmill/sockmill/hub/broker"
)

// ack is what a stream answers to a message.
type ack struct {
	Stream   string              `json:"stream"`
	Sequence uint64              `json:"seq"`
	Error    *jetstream.APIError `json:"error"`
}

// Error codes of JetStream that jetstream has no name for.
const (
	codeResources   jetstream.ErrorCode = 10002 // of the account
	codeNoPeers     jetstream.ErrorCode = 10005
	codeUnavailable jetstream.ErrorCode = 10008
	codeNoRoom      jetstream.ErrorCode = 10023
	codeNoMemory    jetstream.ErrorCode = 10028
	codeNoStorage   jetstream.ErrorCode = 10047
	codeOverlap     jetstream.ErrorCode = 10065
	codeReplicas    jetstream.ErrorCode = 10074
	codeNotStored   jetstream.ErrorCode = 10077
	codeHeaderSize  jetstream.ErrorCode = 10097
	codeInProcess   jetstream.ErrorCode = 10158 // another message with this key is being stored
)

// sendAgain is after what time without an answer a publication with a key is sent again.
const sendAgain = 300 * time.Millisecond

// retryInProcess is how long a key that another call has just used is waited for, each time.
const retryInProcess = 2 * time.Millisecond

// A stream that was made just now may not be known to all servers yet.
const (
	freshFor   = time.Second
	retryFresh = 10 * time.Millisecond
)

// Append implements broker.History. Nil means that the stream has stored the publication, on the majority of Config.Replicas. It is
// delivered by way of NATS, also to this node. Keys are remembered for two minutes.
func (b *Broker) Append(ctx context.Context, channel string, p broker.Publication, keep broker.Keep) (broker.Position, error) {
	part, err := b.of(ctx, channel)
	if err == nil {
		err = keep.Check()
	}
	r := record{Publication: p, Lifetime: keep.Lifetime}
	if err == nil {
		err = r.check()
	}
	if err != nil {
		return broker.Position{}, err
	}
	if keep.Publications > b.cfg.Publications && !b.history.warned.Swap(true) {
		b.log.Warn("a channel is to keep more publications than its stream does", zap.String("channel", channel),
			zap.Int("wanted", keep.Publications), zap.Int("max", b.cfg.Publications))
	}
	var header natsgo.Header
	if keep.Key != "" {
		header = natsgo.Header{natsgo.MsgIdHdr: {messageID(channel, keep.Key)}}
	}
	subject, data := b.storedSubject(channel), r.encode(nil)
	if int64(len(subject)+len(data)) > b.cfg.BytesMax/2 { // its stream would have to remove it again, or all else
		return broker.Position{}, fmt.Errorf("%w: %d bytes are more than half of Config.BytesMax", broker.ErrTooLarge, len(data))
	}
	at, err := part.store(ctx, subject, header, data)
	if err != nil {
		b.history.refused.Add(1)
		return at, err
	}
	b.history.appended.Add(1)
	return at, nil
}

// Remove implements broker.History. What is removed is not read any more; the streams get rid of it when it is as old as
// Config.Lifetime, or when there are Config.Publications newer ones.
func (b *Broker) Remove(ctx context.Context, channel string) error {
	part, err := b.of(ctx, channel)
	if err != nil {
		return err
	}
	if _, err = part.store(ctx, b.removalSubject(channel), nil, nil); err != nil {
		b.history.refused.Add(1)
	}
	return err
}

// messageID is that of a channel and a key, in a form that a header may have, short because the server keeps it in memory.
func messageID(channel, key string) string {
	sum := sha256.Sum256([]byte(channel + "\x00" + key + "\x00" + fmt.Sprint(len(channel))))
	return base64.RawStdEncoding.EncodeToString(sum[:])
}

// removalSubject is where it is said that the history of a channel is removed: P.r.PART.SHARD.TOKEN. The stream of the part keeps it, but does
// not republish it.
func (b *Broker) removalSubject(channel string) string {
	return b.cfg.Prefix + ".r." + strings.TrimPrefix(b.storedSubject(channel), b.storedPrefix)
}

// store has a message stored. One with a key is sent again if no answer comes: a leader that hands over drops what it has just got.
func (p *part) store(ctx context.Context, subject string, header natsgo.Header, data []byte) (broker.Position, error) {
	within, began := p.b.cfg.PublishTimeout, time.Now()
	if header != nil {
		within = min(within, sendAgain)
	}
	if p.down.Load() {
		p.wake()
		return broker.Position{}, errNobody
	}
	for {
		m, err := p.b.askWithin(ctx, subject, header, data, within)
		if errors.Is(err, errSlow) && time.Since(began)+within <= p.b.cfg.PublishTimeout {
			continue
		}
		if errors.Is(err, errNobody) { // so it is not stored
			p.wake()
			if p.fresh() && p.b.pause(ctx, retryFresh) == nil {
				continue
			}
		}
		if err != nil {
			return broker.Position{}, err
		}
		var a ack
		if err := json.Unmarshal(m.Data, &a); err != nil {
			return broker.Position{}, fmt.Errorf("%w: the answer is not one of a stream: %.100q", broker.ErrUnavailable, m.Data)
		}
		switch {
		case a.Error == nil && a.Sequence > 0:
			if a.Stream != p.stream() {
				p.wake()
			}
			at := broker.Position{Offset: a.Sequence, Epoch: a.Stream}
			if name := p.stream(); name == at.Epoch {
				at.Epoch = name // one string for all
			}
			p.heard(at)
			return at, nil
		case a.Error == nil:
			return broker.Position{}, fmt.Errorf("%w: the answer is not one of a stream: %.100q", broker.ErrUnavailable, m.Data)
		case a.Error.ErrorCode != codeInProcess:
			return broker.Position{}, refusal(a.Error)
		}
		if err := p.b.pause(ctx, retryInProcess); err != nil {
			return broker.Position{}, err
		}
	}
}

// refusal makes an error of package broker of one of JetStream: a stream has not stored a message.
func refusal(e *jetstream.APIError) error {
	kind := broker.ErrUnavailable
	switch e.ErrorCode {
	case jetstream.JSErrCodeStreamMessageExceedsMaximum, codeHeaderSize:
		kind = broker.ErrTooLarge
	case codeResources, codeNoRoom, codeNoMemory, codeNoStorage:
		kind = broker.ErrFull
	case codeNotStored:
		kind = broker.ErrFull
		if strings.Contains(e.Description, "too large") {
			kind = broker.ErrTooLarge
		}
	}
	return fmt.Errorf("%w: %s (JetStream error %d)", kind, e.Description, e.ErrorCode)
}

// pause waits.
func (b *Broker) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-b.ctx.Done():
		return broker.ErrClosed
	}
}
