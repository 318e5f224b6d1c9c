package engine

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
)

// topicBytesMax bounds the name of a topic.
const topicBytesMax = 255

// ErrTopics is returned by Subscribe to a connection that has
// Config.TopicsPerConnectionMax subscriptions.
var ErrTopics = errors.New("engine: the connection has Config.TopicsPerConnectionMax subscriptions: end one by Unsubscribe, or raise that limit")

// topic is a topic's part on one loop; it is there as long as it has members.
type topic struct {
	name    string
	members []*Conn
	count   atomic.Int32 // of members that are open, for other goroutines
}

// membership is a connection's place in a topic.
type membership struct {
	t       *topic
	at      int32 // in t.members
	counted bool  // in t.count: the connection is open
}

// Subscribe has the connection get what is published to a topic, a name of 1 to
// 255 bytes, until Unsubscribe or its end. To subscribe twice is to subscribe
// once. Any goroutine may call it: what the same goroutine publishes after it,
// the connection gets. It fails with ErrClosed, or with ErrTopics.
func (c *Conn) Subscribe(topic string) error {
	if topic == "" || len(topic) > topicBytesMax {
		return fmt.Errorf("engine: a topic is a name of 1 to %d bytes, not of %d", topicBytesMax, len(topic))
	}
	if c.end.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if c.lists.topics.Add(1) > int32(c.ep.TopicsPerConnectionMax) && !c.subscribed(topic) {
		c.lists.topics.Add(-1)
		return ErrTopics
	}
	err := c.onLoop(func() { c.subscribe(topic) })
	if err != nil {
		c.lists.topics.Add(-1)
	}
	return err
}

// Unsubscribe ends what Subscribe began; without it, nothing happens. Any
// goroutine may call it.
func (c *Conn) Unsubscribe(topic string) error {
	return c.onLoop(func() { c.unsubscribe(topic) })
}

// Publish sends a message to every connection that has subscribed to the topic.
// It is encoded once, and compressed once for all that can take it; each loop
// gets one task, and a connection one write for all that it is sent in a turn.
// A loop that has much of that to do lets other events come between, and keeps
// the order of what each connection is sent.
// A connection that cannot take it is treated as by Send. Any goroutine may call
// it; m.Data is the caller's again when it returns. What one goroutine publishes
// and sends arrives in that order.
func (e *Engine) Publish(topic string, m Message) error {
	if topic == "" {
		return errors.New("engine: Publish without a topic: Broadcast reaches everybody")
	}
	return e.shareExcept(m, topic, nil)
}

// PublishExcept is Publish to all subscribers but one, such as the connection
// that the message came from. With nil for it, it is Publish.
func (e *Engine) PublishExcept(topic string, m Message, but *Conn) error {
	if topic == "" {
		return errors.New("engine: PublishExcept without a topic: BroadcastExcept reaches everybody else")
	}
	return e.shareExcept(m, topic, but)
}

// Subscribers is how many connections have subscribed to the topic: 0 if nobody
// would hear what is published. Any goroutine may call it. It looks up one number
// on each loop, one loop after the other, and stops none: if connections
// subscribe or leave meanwhile, the sum may be one that never was. A Subscribe or
// Unsubscribe counts as soon as the connection's loop has carried it out, which
// is at once when a callback on that loop calls it. A connection that has begun to
// close counts no longer.
func (e *Engine) Subscribers(topic string) int {
	n := 0
	for _, w := range e.running() {
		w.mu.Lock()
		if t := w.topics[topic]; t != nil {
			n += int(t.count.Load())
		}
		w.mu.Unlock()
	}
	return n
}

// subscribed reports whether c, asked on its loop, is a member already.
func (c *Conn) subscribed(name string) bool { return c.w.loop.On() && c.member(name) >= 0 }

// member finds the subscription in extra.topics, or -1.
func (c *Conn) member(name string) int {
	if t := c.w.topics[name]; t != nil {
		return c.memberOf(t)
	}
	return -1
}

// memberOf is member for a topic that may have ended.
func (c *Conn) memberOf(t *topic) int {
	if c.extra != nil {
		for i, m := range c.extra.topics {
			if m.t == t {
				return i
			}
		}
	}
	return -1
}

func (c *Conn) subscribe(name string) {
	w := c.w
	c.catchUp() // what was published to the topic before is not for c
	if c.end.phase.Load() != phaseOpen || c.member(name) >= 0 {
		c.lists.topics.Add(-1)
		return
	}
	t := w.topics[name]
	if t == nil {
		t = &topic{name: strings.Clone(name)} // it may be a piece of something large
		w.mu.Lock()
		if w.topics == nil {
			w.topics = make(map[string]*topic)
		}
		w.topics[t.name] = t
		w.mu.Unlock()
	}
	r := c.needExtra()
	r.topics = append(r.topics, membership{t, int32(len(t.members)), true})
	t.members = append(t.members, c)
	t.count.Add(1)
}

func (c *Conn) unsubscribe(name string) {
	c.catchUp()
	if i := c.member(name); i >= 0 {
		c.extra.topics[i].uncount()
		m := c.extra.topics[i]
		last := len(c.extra.topics) - 1
		c.extra.topics[i] = c.extra.topics[last]
		c.extra.topics[last] = membership{}
		c.extra.topics = c.extra.topics[:last]
		c.lists.topics.Add(-1)
		m.t.leave(c.w, m.at)
	}
}

// uncount takes a membership out of the number of subscribers.
func (m *membership) uncount() {
	if m.counted {
		m.counted = false
		m.t.count.Add(-1)
	}
}

// uncountTopics is called when the connection is no longer open. It stays a
// member until it is gone: members must not change under a delivery.
func (c *Conn) uncountTopics() {
	if c.extra != nil {
		for i := range c.extra.topics {
			c.extra.topics[i].uncount()
		}
	}
}

// leaveTopics ends all subscriptions.
func (c *Conn) leaveTopics() {
	c.uncountTopics()
	for _, m := range c.extra.topics {
		m.t.leave(c.w, m.at)
	}
	c.lists.topics.Add(-int32(len(c.extra.topics)))
	c.extra.topics = nil
}

// leave takes out the member at a place, where the last one moves.
func (t *topic) leave(w *worker, at int32) {
	last := int32(len(t.members) - 1)
	moved := t.members[last]
	if at != last {
		moved.catchUp()
	}
	t.members[at], t.members[last] = moved, nil
	t.members = t.members[:last]
	if last == 0 {
		w.mu.Lock()
		delete(w.topics, t.name)
		w.mu.Unlock()
		return
	}
	if at != last {
		places := moved.extra.topics
		for i := range places {
			if places[i].t == t {
				places[i].at = at
			}
		}
	}
}
