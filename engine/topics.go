package engine

import (
	"errors"
	"fmt"
	"strings"
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
}

// membership is a connection's place in a topic.
type membership struct {
	t  *topic
	at int // in t.members
}

// Subscribe has the connection get what is published to a topic, a name of 1 to
// 255 bytes, until Unsubscribe or its end. To subscribe twice is to subscribe
// once. Any goroutine may call it: what the same goroutine publishes after it,
// the connection gets. It fails with ErrClosed, or with ErrTopics.
func (c *Conn) Subscribe(topic string) error {
	if topic == "" || len(topic) > topicBytesMax {
		return fmt.Errorf("engine: a topic is a name of 1 to %d bytes, not of %d", topicBytesMax, len(topic))
	}
	if c.phase.Load() != phaseOpen {
		return ErrClosed
	}
	if c.topics.Add(1) > int32(c.e.cfg.TopicsPerConnectionMax) && !c.subscribed(topic) {
		c.topics.Add(-1)
		return ErrTopics
	}
	err := c.onLoop(func() { c.subscribe(topic) })
	if err != nil {
		c.topics.Add(-1)
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
// A connection that cannot take it is treated as by Send. Any goroutine may call
// it; m.Data is the caller's again when it returns. What one goroutine publishes
// and sends arrives in that order.
func (e *Engine) Publish(topic string, m Message) error {
	if topic == "" {
		return errors.New("engine: Publish without a topic: Broadcast reaches everybody")
	}
	return e.share(m, topic)
}

// subscribed reports whether c, asked on its loop, is a member already.
func (c *Conn) subscribed(name string) bool { return c.w.loop.On() && c.member(name) >= 0 }

// member finds the subscription in rare.topics, or -1.
func (c *Conn) member(name string) int {
	if t := c.w.topics[name]; t != nil && c.rare != nil {
		for i, m := range c.rare.topics {
			if m.t == t {
				return i
			}
		}
	}
	return -1
}

func (c *Conn) subscribe(name string) {
	w := c.w
	if c.phase.Load() != phaseOpen || c.member(name) >= 0 {
		c.topics.Add(-1)
		return
	}
	t := w.topics[name]
	if t == nil {
		if w.topics == nil {
			w.topics = make(map[string]*topic)
		}
		t = &topic{name: strings.Clone(name)} // it may be a piece of something large
		w.topics[t.name] = t
	}
	r := c.seldom()
	r.topics = append(r.topics, membership{t, len(t.members)})
	t.members = append(t.members, c)
}

func (c *Conn) unsubscribe(name string) {
	if i := c.member(name); i >= 0 {
		m := c.rare.topics[i]
		last := len(c.rare.topics) - 1
		c.rare.topics[i] = c.rare.topics[last]
		c.rare.topics[last] = membership{}
		c.rare.topics = c.rare.topics[:last]
		c.topics.Add(-1)
		m.t.leave(c.w, m.at)
	}
}

// leaveTopics ends all subscriptions.
func (c *Conn) leaveTopics() {
	for _, m := range c.rare.topics {
		m.t.leave(c.w, m.at)
	}
	c.topics.Add(-int32(len(c.rare.topics)))
	c.rare.topics = nil
}

// leave takes out the member at a place, where the last one moves.
func (t *topic) leave(w *worker, at int) {
	last := len(t.members) - 1
	moved := t.members[last]
	t.members[at], t.members[last] = moved, nil
	t.members = t.members[:last]
	if last == 0 {
		delete(w.topics, t.name)
		return
	}
	if at != last {
		places := moved.rare.topics
		for i := range places {
			if places[i].t == t {
				places[i].at = at
			}
		}
	}
}
