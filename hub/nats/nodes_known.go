package nats

import (
	"context"
	"fmt"
	"strings"
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
			b.forgetPeer(p, "is not heard any more")
		}
	}
	n.mu.Unlock()
	_ = b.say(n.all, &note{kind: noteBeat}) // if it fails, the connection is lost
}

// forgetPeer is called with the lock.
func (b *Broker) forgetPeer(p *peer, why string) {
	n := &b.nodes
	delete(n.peers, p.instance)
	for _, q := range n.questions {
		q.tell(&note{kind: noteBye, instance: p.instance})
	}
	if !p.replaced {
		b.log.Info("a node "+why, zap.String("node", p.node))
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
		if m.kind != noteBeat && m.kind != noteHere || len(n.peers) >= peersMax {
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
		if b.heard(m) { // perhaps it does not know of this node
			b.here(m)
		}
		if m.node == b.cfg.Node {
			b.conflict()
		}
	case noteHello:
		b.here(m)
	case noteBye:
		n.mu.Lock()
		defer n.mu.Unlock()
		if p := n.peers[m.instance]; p != nil {
			b.forgetPeer(p, "has ended")
		}
	default:
		b.foreign(msg)
	}
}

// conflict is for a sign of another living node with this name.
func (b *Broker) conflict() {
	b.nodes.conflicts.Add(1)
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
			b.conflict()
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

// greeting is the state of a node that begins.
type greeting struct {
	waits map[string]string // the names of processes that may be there, by instance; "0" is for anybody
	asked map[string]bool   // by instance: waits, and whoever was there
	taken bool
	over  chan struct{} // closed when it is taken, or nothing is waited for
}

// greet is done twice when a node begins. First it finds the nodes that there are: it asks all, and each answers with the others that it knows;
// those are asked too. A process that has gone does not answer, but the server says that nobody listens to its subject, as it does if there
// is no node at all. Then it tells all that it is there, and waits until they know. Who is known to others and does not answer in
// time is silent.
func (b *Broker) greet(ctx context.Context, waits map[string]string, send func() error) error {
	n := &b.nodes
	g := &greeting{waits: waits, asked: map[string]bool{}, over: make(chan struct{})}
	for instance := range waits {
		g.asked[instance] = true
	}
	n.mu.Lock()
	n.greeting = g
	g.without()
	n.mu.Unlock()
	defer func() {
		n.mu.Lock()
		n.greeting = nil
		n.mu.Unlock()
	}()
	if err := send(); err != nil {
		return b.failed(err)
	}
	timer := time.NewTimer(b.cfg.AskTimeout)
	defer timer.Stop()
	select {
	case <-g.over:
	case <-timer.C:
	case <-ctx.Done():
		return ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if g.taken {
		return fmt.Errorf("nats: the node name %q is taken by a node that is running: Config.Node must be another one on each node", b.cfg.Node)
	}
	for instance, node := range g.waits {
		if node == "" || node == b.cfg.Node {
			continue
		}
		if n.peers[instance] == nil {
			n.peers[instance] = &peer{node: node, instance: instance}
		}
		n.peers[instance].silent = true
	}
	return nil
}

// settleTime is how long it takes at most, if all is well, until all servers of a cluster know what is listened to at one of them. If not all is
// well, the announcements that come later are heard.
const (
	settleTime    = 100 * time.Millisecond
	announcements = 10
)

// lookAgain is for a node at a server that has others: two that begin at the same time at two servers do not hear each other until both
// servers know of both.
func (b *Broker) lookAgain(ctx context.Context) error {
	if b.conn.ConnectedClusterName() == "" {
		return nil
	}
	for range 2 { // for both, and for who answers
		select {
		case <-time.After(settleTime):
			b.announce()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// living are the names of the nodes that are known and not silent, by instance.
func (n *nodes) living() map[string]string {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := map[string]string{}
	for _, p := range n.peers {
		if !p.silent {
			all[p.instance] = p.node
		}
	}
	return all
}

// sayHello has the answer, or that there is none, come with a token.
func (b *Broker) sayHello(subject, token string) error {
	n := &b.nodes
	hello := note{kind: noteHello, node: b.cfg.Node, instance: n.instance}
	return b.conn.PublishRequest(subject, n.inbox+n.instance+"."+token, hello.encode(nil))
}

// greeted is for an answer to hello. It reports whether this node is beginning.
func (b *Broker) greeted(m *note) bool {
	n := &b.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	g := n.greeting
	if g == nil {
		return false
	}
	g.taken = g.taken || m.node == b.cfg.Node
	g.asked[m.instance] = true
	for _, other := range m.others {
		node, instance, _ := strings.Cut(other, ".")
		if g.asked[instance] || instance == n.instance || len(g.asked) >= peersMax {
			continue
		}
		g.asked[instance], g.waits[instance] = true, node
		if b.sayHello(n.to(instance), instance) != nil {
			delete(g.waits, instance)
		}
	}
	g.without("0", m.instance)
	return true
}

// nobody is what the server says if nobody listens to a subject.
func (b *Broker) nobody(reply string) {
	n := &b.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.greeting != nil {
		n.greeting.without(reply[strings.LastIndexByte(reply, '.')+1:])
	}
}

// without notes that some need not be waited for. It is called with the lock.
func (g *greeting) without(instances ...string) {
	for _, x := range instances {
		delete(g.waits, x)
	}
	if len(g.waits) > 0 && !g.taken {
		return
	}
	select {
	case <-g.over:
	default:
		close(g.over)
	}
}
