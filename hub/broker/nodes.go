package broker

import (
	"context"
	"fmt"
	"strings"
)

// Nodes is what a Broker may have too: it knows the other nodes and asks them. A hub gives its orders and asks for its lists by it;
// without it, it has only what this node knows.
type Nodes interface {
	// Node is the name of this node, which no other has.
	Node() string

	// Answer has f called for each Ask with this subject, on any node, also on this one. f may be called on any goroutine,
	// several times at once, and may block until ctx ends, but not longer. It must not change request, and nobody may change what it
	// has returned. There may be several functions for a subject: each gives an answer. A node without any gives none, and is
	// not missing. After remove has returned, no call begins; one that had begun may go on. Close of the
	// implementation ends ctx and waits for f. A subject that Ask does not take is never asked for.
	Answer(subject string, f func(ctx context.Context, request []byte) []byte) (remove func())

	// Ask asks all nodes that are known, also this one, and waits for their answers until ctx ends, at most for a time that
	// the implementation sets. A subject has 1 to ChannelBytesMax bytes. Ask fails with ErrInvalid, ErrTooLarge, ErrUnavailable,
	// ErrClosed. That a node did not answer in time is not a failure, also if ctx has ended meanwhile: the node is in
	// Answers.Missing, and may have done what it was asked for.
	Ask(ctx context.Context, subject string, request []byte) (Answers, error)
}

// CheckSubject fails with ErrInvalid if Nodes.Ask does not take the subject.
func CheckSubject(subject string) error {
	if len(subject) == 0 || len(subject) > ChannelBytesMax {
		return fmt.Errorf("%w: a subject of %d bytes: it must have from 1 to %d", ErrInvalid, len(subject), ChannelBytesMax)
	}
	return nil
}

// Answers is what became of an Ask.
type Answers struct {
	Data    []Answer // in no order; also of a missing node, if only some of its functions have answered
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
