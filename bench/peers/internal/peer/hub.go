package peer

import (
	"bytes"
	"slices"
	"sync"
)

// Hub knows the connections and who subscribed to what. Any goroutine may call
// its methods.
type Hub[C comparable] struct {
	mu     sync.Mutex
	all    group[C]
	topics map[string]*group[C]
	of     map[C][]string // the topics of a connection
}

// group is a set with a list of its members that is made anew only after a
// change: the list is gone through for each message, the set changes rarely.
type group[C comparable] struct {
	members map[C]struct{}
	list    []C
}

func (g *group[C]) add(c C) {
	if g.members == nil {
		g.members = map[C]struct{}{}
	}
	g.members[c], g.list = struct{}{}, nil
}

func (g *group[C]) remove(c C) {
	delete(g.members, c)
	g.list = nil
}

func (g *group[C]) snapshot() []C {
	if g.list == nil {
		g.list = make([]C, 0, len(g.members))
		for c := range g.members {
			g.list = append(g.list, c)
		}
	}
	return g.list
}

// Join adds a connection.
func (h *Hub[C]) Join(c C) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all.add(c)
}

// Leave removes a connection and its subscriptions.
func (h *Hub[C]) Leave(c C) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all.remove(c)
	for _, name := range h.of[c] {
		h.topics[name].remove(c)
	}
	delete(h.of, c)
}

// All is every connection. Do not change it.
func (h *Hub[C]) All() []C {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.all.snapshot()
}

// Subscribers is every connection that subscribed to the topic. Do not change it.
func (h *Hub[C]) Subscribers(topic []byte) []C {
	h.mu.Lock()
	defer h.mu.Unlock()
	if g := h.topics[string(topic)]; g != nil {
		return g.snapshot()
	}
	return nil
}

// Subscribe subscribes a connection that has joined and not left.
func (h *Hub[C]) Subscribe(c C, topic string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.all.members[c]; !ok || slices.Contains(h.of[c], topic) {
		return
	}
	if h.topics == nil {
		h.topics, h.of = map[string]*group[C]{}, map[C][]string{}
	}
	g := h.topics[topic]
	if g == nil {
		g = &group[C]{}
		h.topics[topic] = g
	}
	g.add(c)
	h.of[c] = append(h.of[c], topic)
}

// Fan does what the mode says about a message of c that is not echoed: it
// returns whom to send payload, which is a piece of message.
func (h *Hub[C]) Fan(mode string, c C, message []byte) (to []C, payload []byte) {
	if mode == Broadcast {
		return h.All(), message
	}
	verb, topic, payload := Command(message)
	switch verb {
	case 's':
		h.Subscribe(c, string(topic))
	case 'p':
		return h.Subscribers(topic), payload
	}
	return nil, nil
}

// Command takes a message of the mode topics apart: "s NAME" subscribes,
// "p NAME PAYLOAD" publishes. The verb is 0 if it is neither.
func Command(message []byte) (verb byte, topic, payload []byte) {
	if len(message) < 3 || message[1] != ' ' {
		return 0, nil, nil
	}
	verb, topic = message[0], message[2:]
	switch verb {
	case 's':
		return verb, topic, nil
	case 'p':
		if topic, payload, ok := bytes.Cut(topic, []byte{' '}); ok {
			return verb, topic, payload
		}
	}
	return 0, nil, nil
}
