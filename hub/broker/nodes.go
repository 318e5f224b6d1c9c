package broker

import (
	"context"
	"strings"
)

// Nodes is what a Broker may have too: it knows the other nodes and asks them. A hub gives its orders and asks for its lists by it;
// without it, it has only what this node knows.
type Nodes interface {
	// Node is the name of this node, which no other has.
	Node() string

	// Answer has f called for each Ask with this subject, on any node, also on this one, until the returned function has been called.
	// f may be called on any goroutine, several times at once, and may block until ctx ends, but not longer. What it returns
	// must not be changed afterwards. There may be several functions for a subject: each gives an answer.
	Answer(subject string, f func(ctx context.Context, request []byte) []byte) (remove func())

	// Ask asks all nodes that are known, also this one, and waits for their answers until ctx ends, at most for a time that
	// the implementation sets. It fails with ErrInvalid, ErrTooLarge, ErrUnavailable, ErrClosed. That a node did not answer
	// in time is not a failure: it is in Answers.Missing, and may have done what it was asked for.
	Ask(ctx context.Context, subject string, request []byte) (Answers, error)
}

// Answers is what became of an Ask.
type Answers struct {
	Data    []Answer // in no order
	Missing []string // the nodes that are known and did not answer in time, sorted
}

// Answer is what a node has answered.
type Answer struct {
	Node string
	Data []byte
}

// MissingError says that a result lacks what some nodes know, because they did not answer in time. The result that is returned with
// it is right for all others. A node that has crashed is missing until it is no longer known.
type MissingError struct {
	Nodes []string // sorted
}

// Error implements error.
func (e *MissingError) Error() string {
	return "broker: no answer from " + strings.Join(e.Nodes, ", ")
}
