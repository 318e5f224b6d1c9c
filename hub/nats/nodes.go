package nats

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	natsgo "github.com/nats-io/nats.go"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/sockmill/sockmill/hub/broker"
	"github.com/sockmill/sockmill/hub/memory"
)

// Nodes know each other and ask each other. Nothing is replicated: each node answers for its own clients. The subjects are
//
//	P.n.all             beats, greetings and goodbyes
//	P.n.ask             questions
//	P.n.i.INSTANCE.*    what is for one process: answers, and whether it is there
//
// P is Config.Prefix.

// Limits of what is between nodes.
const (
	peersMax       = 4096      // nodes that are known
	answersAtOnce  = 256       // questions of others that are answered at the same time
	answerBytesMax = 256 * mib // of all answers that this node is gathering, and once more of those that it holds for others
	firstPartMax   = 32 * kib  // of the part of an answer that is sent unasked
	partMax        = 512 * kib // of each other part, if the server takes twice that
	partsAtOnce    = 16        // that this node has asked for and not got
	partsAhead     = 4         // of them for one answer
)

// nodes is what is known of the other nodes, and what is asked.
type nodes struct {
	instance        string
	settings        string // what has to be the same on all nodes, for people
	all, ask, inbox string // subjects

	local   *memory.Broker // the presence of this node's clients, and the functions that answer
	answers chan struct{}  // has an element for each question that is being answered
	parts   chan struct{}  // has an element for each part that was asked for
	bytes   atomic.Int64   // of answers that are being gathered
	soon    chan struct{}  // announceSoon was called
	ended   chan struct{}  // closed by Close
	subs    []*natsgo.Subscription

	asks, answered, missing, refused, conflicts atomic.Uint64

	mu        sync.Mutex       // guards what follows
	peers     map[string]*peer // by instance; without this one
	left      map[string]int   // processes that have said that they end, by instance, and the own beats since then
	moment    uint64           // rises with everything that is heard
	greeting  *greeting        // while New
	lastID    uint64
	questions map[uint64]*inquiry
	held      map[heldKey]*held
	heldBytes int
	closed    bool
	working   sync.WaitGroup // answers; does not grow once closed
}

// NodesStats are the counters of the nodes.
type NodesStats struct {
	Known int // other nodes that are known

	Asks      uint64 // questions of this node: Ask, Present and Count
	Answered  uint64 // questions of other nodes that this node has answered
	Missing   uint64 // answers that did not come in time
	Refused   uint64 // answers for which there was no room, here or at the node that was asked
	Conflicts uint64 // signs of another living node with the name of this one
}

func (b *Broker) nodesStats() NodesStats {
	n := &b.nodes
	n.mu.Lock()
	defer n.mu.Unlock()
	return NodesStats{
		Known: len(n.peers), Asks: n.asks.Load(), Answered: n.answered.Load(), Missing: n.missing.Load(), Refused: n.refused.Load(), Conflicts: n.conflicts.Load(),
	}
}

// openNodes finds the other nodes, takes the name, and begins to answer.
func (b *Broker) openNodes(ctx context.Context) error {
	n, prefix := &b.nodes, b.cfg.Prefix+".n."
	n.instance = rand.Text()
	n.settings = fmt.Sprintf("Shards %d, Streams %d, NoHistory %t", b.cfg.Shards, b.cfg.Streams, b.cfg.NoHistory)
	n.all, n.ask, n.inbox = prefix+"all", prefix+"ask", prefix+"i."
	n.answers, n.parts, n.ended = make(chan struct{}, answersAtOnce), make(chan struct{}, partsAtOnce), make(chan struct{})
	n.soon = make(chan struct{}, 1)
	n.peers, n.left, n.questions, n.held = map[string]*peer{}, map[string]int{}, map[uint64]*inquiry{}, map[heldKey]*held{}
	local, err := memory.New(memory.Config{Node: b.cfg.Node, AskTimeout: b.cfg.AskTimeout, PresenceBytesMax: b.cfg.PresenceBytesMax, Clock: b.cfg.clock})
	if err != nil {
		return err
	}
	n.local = local
	if err := b.hear(n.inbox+n.instance+".*", b.onInbox); err != nil {
		return err
	}
	if err := b.greet(ctx, map[string]string{"0": ""}, func() error { return b.sayHello(n.all, "0") }); err != nil {
		return err
	}
	if err := b.hear(n.all, b.onSign); err != nil {
		return err
	}
	if err := b.hear(n.ask, b.onAsk); err != nil {
		return err
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	if err := b.greet(ctx, n.living(), func() error { return b.say(n.all, &note{kind: noteBeat}) }); err != nil {
		return err
	}
	if err := b.lookAgain(ctx); err != nil {
		return err
	}
	b.onReconnect(func(context.Context) { b.announceSoon() })
	b.onChange(func(context.Context) { b.announceSoon() })
	b.announceSoon()
	b.run(b.beat)
	return nil
}

// flush returns when the server has what was sent.
func (b *Broker) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, b.cfg.PublishTimeout)
	defer cancel()
	return b.failed(b.conn.FlushWithContext(ctx))
}

// hear has f called for each message on a subject, one after the other.
func (b *Broker) hear(subject string, f func(msg *natsgo.Msg, m *note)) error {
	sub, err := b.conn.Subscribe(subject, func(msg *natsgo.Msg) {
		var m note
		switch {
		case len(msg.Data) == 0 && msg.Header.Get("Status") == "503":
			b.nobody(msg.Subject)
		case m.decode(msg.Data) != nil:
			b.foreign(msg)
		case m.instance != b.nodes.instance:
			f(msg, &m)
		}
	})
	if err == nil {
		err = sub.SetPendingLimits(65_536, answerBytesMax)
	}
	if err != nil {
		return b.failed(err)
	}
	b.nodes.subs = append(b.nodes.subs, sub)
	return nil
}

// say sends a note in the name of this node.
func (b *Broker) say(subject string, m *note) error {
	m.node, m.instance = b.cfg.Node, b.nodes.instance
	if m.kind == noteBeat || m.kind == noteHere {
		m.subject = b.nodes.settings
	}
	return b.conn.Publish(subject, m.encode(nil))
}

// to is the subject of one process.
func (n *nodes) to(instance string) string { return n.inbox + instance + ".0" }

// closeNodes is called by Close, before the connection ends and before ctx of run ends.
func (b *Broker) closeNodes() {
	n := &b.nodes
	if n.local == nil {
		return
	}
	n.mu.Lock()
	n.closed = true
	for _, h := range n.held {
		h.timer.Stop()
	}
	n.held = nil
	n.mu.Unlock()
	close(n.ended)
	for _, sub := range n.subs {
		_ = sub.Unsubscribe()
	}
	_ = n.local.Close()
	n.working.Wait()
	if b.conn.IsConnected() && len(n.subs) == 3 {
		_ = b.say(n.all, &note{kind: noteBye}) // else the others find out
		_ = b.conn.FlushTimeout(time.Second)
	}
}

// Node implements broker.Nodes.
func (b *Broker) Node() string { return b.cfg.Node }

// Answer implements broker.Nodes.
func (b *Broker) Answer(subject string, f func(ctx context.Context, request []byte) []byte) (remove func()) {
	return b.nodes.local.Answer(subject, f)
}

// Ask implements broker.Nodes. It waits for Config.AskTimeout at most; a function has nine tenths of that. A node that has left a question open is not
// waited for again, but named as missing, until something is heard from it. Without a connection to NATS, nobody is asked, and Ask fails
// with broker.ErrUnavailable.
func (b *Broker) Ask(ctx context.Context, subject string, request []byte) (broker.Answers, error) {
	if err := b.checkSubject(ctx, subject); err != nil {
		return broker.Answers{}, err
	}
	var own broker.Answers
	replies, missing, err := b.gather(ctx, &note{kind: noteAsk, subject: subject, data: request}, func(ctx context.Context) {
		own, _ = b.nodes.local.Ask(ctx, subject, request)
	})
	if err != nil {
		return broker.Answers{}, err
	}
	all := broker.Answers{Data: own.Data, Missing: append(missing, own.Missing...)}
	for _, r := range replies {
		for rest := r.data; len(rest) > 0; {
			data, size := protowire.ConsumeBytes(rest)
			if size < 0 {
				all.Missing = append(all.Missing, r.node)
				break
			}
			all.Data = append(all.Data, broker.Answer{Node: r.node, Data: data})
			rest = rest[size:]
		}
	}
	all.Missing = sorted(all.Missing)
	return all, nil
}

// checkSubject is the beginning of Ask.
func (b *Broker) checkSubject(ctx context.Context, subject string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if b.closed.Load() {
		return broker.ErrClosed
	}
	return broker.CheckSubject(subject)
}

func sorted(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
