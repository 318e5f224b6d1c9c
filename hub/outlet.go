package hub

import (
	"errors"
	"iter"
	"slices"
	"strconv"
	"sync/atomic"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub/broker"
)

// sent is a publication that was delivered.
type sent struct {
	p     broker.Publication
	forms []form // by format; nil: none is made. Guarded by what guards the deliveries of its channel
}

// form is a publication in a format, which is made when it is first needed.
type form struct {
	made     bool
	lossy    bool             // its policy may drop it
	message  engine.Message   // until it is prepared
	prepared *engine.Prepared // made if it is sent more than once
}

// outlet is how publications of a channel, to a user or to all are sent.
type outlet struct {
	h       *Hub
	channel string        // empty: to a user or to all
	policy  engine.Policy // 0: that of the message
	tracks  bool          // what has a position must not be lost
}

// form returns the form of x in a format, which it makes once.
func (o *outlet) form(x *sent, format int) *form {
	if x.forms == nil {
		x.forms = make([]form, o.h.cfg.Formats)
	}
	f := &x.forms[format]
	if f.made {
		return f
	}
	f.made, f.message = true, o.h.cfg.Encode(format, o.channel, &x.p)
	if o.policy != 0 {
		f.message.Policy = o.policy
	}
	if o.tracks && x.p.Offset > 0 {
		f.message.Policy = engine.PolicyClose // nothing else loses nothing
	}
	f.lossy = f.message.Policy > engine.PolicyClose
	return f
}

func (o *outlet) prepare(x *sent, format int) (f *form, err error) {
	if f = o.form(x, format); f.prepared == nil {
		if f.prepared, err = o.h.e.Prepare(f.message); err == nil {
			f.message = engine.Message{}
		}
	}
	return f, err
}

// give sends x to one client, which may not have begun, alone or beside others. It is closed if that fails.
func (o *outlet) give(x *sent, c *Client, alone bool) {
	f := o.form(x, int(c.format))
	var begun bool
	var err error
	if alone {
		begun, err = c.sendNow(f.message)
	}
	if !begun {
		if f, err = o.prepare(x, int(c.format)); err == nil {
			err = c.receive(f.prepared)
		}
	}
	if f.failure(err) != nil {
		c.closeInsufficient()
	}
}

// failure is what is left of an error of sending: that somebody does not get what he must not miss.
func (f *form) failure(err error) error {
	if errors.Is(err, engine.ErrStopped) || errors.Is(err, engine.ErrClosed) || f.lossy && errors.Is(err, engine.ErrBackpressure) {
		return nil
	}
	return err
}

// spread sends x to the subscribers of a topic of the engine, which all speak the format, but some; the others
// must be given too. A failure means that some subscriber does not get it.
func (o *outlet) spread(x *sent, format int, topic string, but []*Client, others iter.Seq[*Client]) error {
	f := o.form(x, format)
	switch {
	case len(but) > 1:
		return o.sendEach(x, format, others)
	case f.prepared != nil && len(but) == 0:
		return f.failure(f.prepared.Publish(topic))
	case f.prepared != nil:
		return o.sendEach(x, format, others)
	case len(but) == 0:
		return f.failure(o.h.e.Publish(topic, f.message))
	default:
		return f.failure(o.h.e.PublishExcept(topic, f.message, but[0].conn))
	}
}

// sendEach sends to clients one by one.
func (o *outlet) sendEach(x *sent, format int, to iter.Seq[*Client]) error {
	f, err := o.prepare(x, format)
	if err != nil {
		return err
	}
	for c := range to {
		if f.failure(f.prepared.Send(c.conn)) != nil {
			c.closeInsufficient() // unless it is closed for being slow
		}
	}
	return nil
}

// excluded returns the clients of a format that do not get p, of those for whom in reports true.
func (h *Hub) excluded(p *broker.Publication, format int, in func(*Client) bool) (but []*Client) {
	for _, id := range p.Except {
		if c := h.Client(id); c != nil && int(c.format) == format && in(c) && !slices.Contains(but, c) {
			but = append(but, c)
		}
	}
	return but
}

// lastTopic counts the topics of all hubs, which may share an engine.
var lastTopic atomic.Uint64

// newTopic makes the name of a topic of the engine that no other has.
func newTopic() string { return topicName(lastTopic.Add(1)) }

func topicName(number uint64) string { return "\x00hub " + strconv.FormatUint(number, 36) }
