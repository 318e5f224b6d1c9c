package nats

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// greeting is the state of a node that begins.
type greeting struct {
	waits map[string]string // the names of processes that may be there, by instance; "0" is for anybody
	asked map[string]bool   // by instance: waits, and whoever was there
	taken bool
	other error         // a node has other settings
	over  chan struct{} // closed when it is taken, or there is other, or nothing is waited for
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
	if g.other != nil {
		return g.other
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
	if err := n.differs(m); err != nil {
		g.other = err
	}
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

// differs fails if a node has other settings than this one: they would not hear each other, and nothing else would say so.
func (n *nodes) differs(m *note) error {
	if m.subject == n.settings || m.subject == "" {
		return nil
	}
	return fmt.Errorf("nats: the node %q has %.80q, and this one has %q: these fields of Config must be the same on all nodes with the same Config.Prefix",
		m.node, m.subject, n.settings)
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
	if len(g.waits) > 0 && !g.taken && g.other == nil {
		return
	}
	select {
	case <-g.over:
	default:
		close(g.over)
	}
}
