package app

import (
	"context"
	"encoding/json"
	"flag"
	"slices"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/sockmill/sockmill/engine"
	"github.com/sockmill/sockmill/hub"
	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/protocol"
)

// Cluster is what a program brings in which this process is one of several nodes.
type Cluster interface {
	// Flags adds flags of its own.
	Flags(f *flag.FlagSet)

	// Check refuses what does not fit together, when the flags have been read.
	Check() error

	// URLs are the addresses at which browsers find the nodes, also this one, after Check; none: a page knows only where it came from.
	URLs() []string

	// Start joins the cluster, which may take until others have been started. When ctx ends, it gives up.
	Start(ctx context.Context, s Settings) (*Node, error)
}

// Settings are what Cluster.Start has to know of the program.
type Settings struct {
	History  int           // publications of a channel that have to be kept; 0: there is no history
	Lifetime time.Duration // of each of them; 0: it does not end
	Say      func(text string)
	Logger   *zap.Logger
}

// Node is this process as a part of the cluster.
type Node struct {
	Name     string
	Broker   broker.Broker // has to be a broker.Nodes too
	History  broker.History
	Presence broker.Presence
	Expected int                             // how many nodes there are if all are well; 0: nobody knows
	Health   func() error                    // nil, or why this node should get no clients
	Hopeless func(health error) bool         // only another start of the process helps: it ends then. nil: there is no such thing
	Stats    func() any                      // of the package hub/nats, for /metrics; nil: there are none
	Close    func(ctx context.Context) error // is called when all connections are gone
}

// nodesEvery is how often a node asks who the others are.
const nodesEvery = time.Second

// nodesSubject is what it asks by.
const nodesSubject = "example-nodes"

// nodes is what the page shows of the cluster.
type nodes struct {
	Node     string   `json:"node"`               // the one that answers
	Nodes    []string `json:"nodes"`              // that are well, sorted
	Missing  []string `json:"missing"`            // that are not, as far as their names are known
	Expected int      `json:"expected,omitempty"` // how many there should be; 0: nobody knows
}

// watch keeps what is known of the nodes up to date until ctx ends, and tells when this one is hopeless.
func (n *Node) watch(ctx context.Context, known *atomic.Pointer[nodes], hopeless chan<- error, log *zap.Logger) {
	asker := n.Broker.(broker.Nodes)
	defer asker.Answer(nodesSubject, func(context.Context, []byte) []byte { return nil })()
	tick := time.NewTicker(nodesEvery)
	defer tick.Stop()
	var seen []string
	for {
		answers, err := asker.Ask(ctx, nodesSubject, nil)
		if err != nil && ctx.Err() == nil {
			log.Debug("the other nodes cannot be asked", zap.Error(err))
			answers = broker.Answers{Data: []broker.Answer{{Node: n.Name}}}
		}
		now := nodes{Node: n.Name, Nodes: []string{}, Missing: answers.Missing, Expected: n.Expected}
		for _, a := range answers.Data {
			now.Nodes = append(now.Nodes, a.Node)
		}
		if n.Expected > 0 { // the nodes are always the same ones: who was there is missing until it comes back
			seen = union(seen, now.Nodes)
			now.Missing = union(answers.Missing, seen)
		}
		now.Missing = slices.DeleteFunc(union(now.Missing, nil), func(name string) bool { return slices.Contains(now.Nodes, name) })
		now.Nodes = union(now.Nodes, nil)
		known.Store(&now)
		if err := n.Health(); err != nil && n.Hopeless != nil && n.Hopeless(err) {
			select {
			case hopeless <- err:
			default: // it is known
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// union returns what is in a or b, sorted, never nil.
func union(a, b []string) []string {
	all := append(append([]string{}, a...), b...)
	slices.Sort(all)
	return slices.Compact(all)
}

// rpc answers what the page asks for on its connection.
func (p *program) rpc(_ context.Context, _ *hub.Client, method string, _ []byte) ([]byte, error) {
	known := p.nodes.Load()
	if method != "nodes" || known == nil {
		return nil, hub.ErrMethod
	}
	return json.Marshal(known)
}

// onUpgrade hands a connection to the server, as soon as there is one.
func (p *program) onUpgrade(u *engine.Upgrade) error {
	s := p.serving.Load()
	if s == nil {
		return engine.Refuse(503, "this node is starting")
	}
	u.Handler = s.server.Handler()
	return u.Handler.OnUpgrade(u)
}

// checkOrigin lets the pages of this node and of the others in, and whoever is no browser.
func (p *program) checkOrigin(r *protocol.Request) bool {
	origin := r.Fields.Get("Origin")
	return r.Fields.Count("Origin") == 0 || protocol.SameOrigin(origin, r.Host) || slices.Contains(p.urls, origin)
}
