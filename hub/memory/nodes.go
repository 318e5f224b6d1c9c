package memory

import (
	"context"
	"slices"
	"sync"

	"github.com/sockmill/sockmill/hub/broker"
)

// nodes are the functions that answer.
type nodes struct {
	ctx     context.Context // of all calls; ends with Close
	end     context.CancelFunc
	running sync.WaitGroup // calls

	mu        sync.Mutex             // guards what follows, and that running does not grow once ctx has ended
	functions map[string][]*function // by subject; the slices are replaced, never changed
}

type function struct {
	answer func(ctx context.Context, request []byte) []byte
}

func (n *nodes) init() {
	n.ctx, n.end = context.WithCancel(context.Background())
	n.functions = map[string][]*function{}
}

func (n *nodes) close() {
	n.mu.Lock()
	n.end()
	n.mu.Unlock()
	n.running.Wait()
}

// begin returns the functions for a subject, each of which is called once now.
func (n *nodes) begin(subject string) ([]*function, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ctx.Err() != nil {
		return nil, broker.ErrClosed
	}
	fs := n.functions[subject]
	n.running.Add(len(fs))
	return fs, nil
}

// Node implements broker.Nodes: it is Config.Node.
func (b *Broker) Node() string { return b.cfg.Node }

// Answer implements broker.Nodes.
func (b *Broker) Answer(subject string, f func(ctx context.Context, request []byte) []byte) (remove func()) {
	n, x := &b.nodes, &function{f}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.functions[subject] = append(slices.Clip(n.functions[subject]), x)
	return func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		left := slices.DeleteFunc(slices.Clone(n.functions[subject]), func(y *function) bool { return x == y })
		if n.functions[subject] = left; len(left) == 0 {
			delete(n.functions, subject)
		}
	}
}

// Ask implements broker.Nodes. There is one node: it is missing if one of its functions has not answered after Config.AskTimeout.
func (b *Broker) Ask(ctx context.Context, subject string, request []byte) (all broker.Answers, err error) {
	if err := ctx.Err(); err != nil {
		return all, err
	}
	if b.closed.Load() {
		return all, broker.ErrClosed
	}
	if err := broker.CheckSubject(subject); err != nil {
		return all, err
	}
	fs, err := b.nodes.begin(subject)
	if err != nil {
		return all, err
	}
	ctx, cancel := context.WithTimeout(ctx, b.cfg.AskTimeout)
	defer cancel()
	defer context.AfterFunc(b.nodes.ctx, cancel)()
	got := make(chan []byte, len(fs))
	for _, f := range fs {
		go func() {
			defer b.nodes.running.Done()
			got <- f.answer(ctx, request)
		}()
	}
	for range fs {
		select {
		case data := <-got:
			all.Data = append(all.Data, broker.Answer{Node: b.cfg.Node, Data: data})
		case <-ctx.Done():
			all.Missing = []string{b.cfg.Node}
			return all, nil
		}
	}
	return all, nil
}
