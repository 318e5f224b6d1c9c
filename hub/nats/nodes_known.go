package nats

import (
	"context"
	"fmt"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"go.uber.org/zap"
)

// beatsMissed is how many own beats long nothing may be heard of a node. Time is counted by the own beats only: no clock of another node is
// trusted, and a node that was stopped does not think that all others were.
const beatsMissed = 5

// peer is another node that is known.
type peer struct {
	node, instance string

	age      int    // own beats since it was heard
	heard    uint64 // nodes.moment when it was heard
	silent   bool   // it has left a question open, and nothing was heard of it since
	replaced bool   // another process has begun with its name, and nothing was heard of it since
}

// beat says each NodeLifetime/beatsMissed that this node lives. It announces the node for a while after it has begun, and after what it
// is connected to has changed.
func (b *Broker) beat(ctx context.Context) {
	every, often := time.NewTicker(b.cfg.NodeLifetime/beatsMissed), time.NewTicker(settleTime)
	defer every.Stop()
	defer often.Stop()
	for left := 0; ; {
		select {
		case <-every.C:
			b.tick()
		case <-b.nodes.soon:
			left = announcements
			often.Reset(settleTime)
			b.announce()
		case <-often.C:
			if left--; left <= 0 {
				often.Stop()
			}
			b.announce()
		case <-ctx.Done():
			return
		}
	}
}

// announce tells all that this node lives, and asks them to tell it the same. It fails without a connection, and is done again when there is one.
func (b *Broker) announce() {
	_ = b.say(b.nodes.all, &note{kind: noteHello})
	_ = b.say(b.nodes.all, &note{kind: noteBeat})
}

// announceSoon has beat announce the node.
func (b *Broker) announceSoon() {
	select {
	case b.nodes.soon <- struct{}{}:
	default:
	}
}

// tick is one beat. Without a connection, nothing is learned of the others, so nobody grows older.
func (b *Broker) tick() {
	if !b.live() {
		return
	}
	n := &b.nodes
	n.mu.Lock()
	for _, p := range n.peers {
		if p.age++; p.age >= beatsMissed {
			b.forgetPeer(p, false)
		}
	}
	for instance, age := range n.left {
		if n.left[instance] = age + 1; age+1 >= beatsMissed {
			delete(n.left, instance)
		}
	}
	n.mu.Unlock()
	_ = b.say(n.all, &note{kind: noteBeat}) // if it fails, the connection is lost
}

// forgetPeer is called with the lock. The peer has said that it ends, or is not heard any more.
func (b *Broker) forgetPeer(p *peer, ended bool) {
	n := &b.nodes
	delete(n.peers, p.instance)
	for _, q := range n.questions {
		q.tell(&note{kind: noteBye, instance: p.instance})
	}
	switch {
	case p.replaced:
	case ended:
		b.log.Info("a node has ended", zap.String("node", p.node))
	default:
		b.log.Info("a node is not heard any more", zap.String("node", p.node))
	}
	for _, other := range n.peers {
		if other.node == b.cfg.Node {
			return
		}
	}
	if b.health.set("name", nil) {
		b.log.Info("no other node has the name of this one any more", zap.String("node", b.cfg.Node))
	}
}

// heard notes that a node lives. It reports whether that is news.
func (b *Broker) heard(m *note) (news bool) {
	n := &b.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[m.instance]
	if p == nil {
		if m.kind != noteBeat && m.kind != noteHere || len(n.peers) >= peersMax || n.hasLeft(m) {
			return false
		}
		p, news = &peer{node: m.node, instance: m.instance}, true
		for _, old := range n.peers {
			if m.kind == noteBeat && old.node == m.node {
				old.replaced, old.silent = true, false
			}
		}
		n.peers[m.instance] = p
		b.log.Info("a node is there", zap.String("node", m.node))
	}
	n.moment++
	p.age, p.heard, p.silent, p.replaced = 0, n.moment, false, false
	return news
}

// onSign gets what is said to all.
func (b *Broker) onSign(msg *natsgo.Msg, m *note) {
	n := &b.nodes
	switch m.kind {
	case noteBeat:
		if err := n.differs(m); err != nil { // New has not seen it: they were cut off from each other
			b.seldom.Error("a node has other settings", zap.Error(err))
		}
		if b.heard(m) { // perhaps it does not know of this node
			b.here(m)
		}
		if m.node == b.cfg.Node {
			b.conflict(m)
		}
	case noteHello:
		b.here(m)
	case noteBye:
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.left) < peersMax {
			n.left[m.instance] = 0
		}
		if p := n.peers[m.instance]; p != nil {
			b.forgetPeer(p, true)
		}
	default:
		b.foreign(msg)
	}
}

// hasLeft reports whether the process has said that it ends: what it said to this one before may come later, on another subscription. It is called
// with the lock.
func (n *nodes) hasLeft(m *note) bool {
	_, left := n.left[m.instance]
	return left
}

// conflict is for a sign of another node with this name.
func (b *Broker) conflict(m *note) {
	n := &b.nodes
	n.mu.Lock() // so that it does not end in between
	defer n.mu.Unlock()
	if n.hasLeft(m) {
		return
	}
	n.conflicts.Add(1)
	err := fmt.Errorf("nats: another node has the name of this one, %q: what is told of nodes by their names is wrong", b.cfg.Node)
	if b.health.set("name", err) {
		b.log.Error("another node has the name of this one", zap.String("node", b.cfg.Node))
	}
}

// here tells who is there.
func (b *Broker) here(m *note) {
	n := &b.nodes
	n.mu.Lock()
	var others []string
	for _, p := range n.peers {
		if !p.replaced {
			others = append(others, p.node+"."+p.instance)
		}
	}
	n.mu.Unlock()
	_ = b.say(n.to(m.instance), &note{kind: noteHere, others: others}) // without it, a beat tells
}

// onInbox gets what is said to this process.
func (b *Broker) onInbox(msg *natsgo.Msg, m *note) {
	switch m.kind {
	case noteHere:
		b.heard(m)
		if !b.greeted(m) && m.node == b.cfg.Node {
			b.conflict(m)
		}
	case noteHello:
		b.here(m)
	case noteAnswer:
		b.heard(m)
		b.onAnswer(m)
	case noteMore:
		b.sendMore(m)
	default:
		b.foreign(msg)
	}
}
